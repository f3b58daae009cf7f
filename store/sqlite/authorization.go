package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/onbehalf/obo/store"
)

const clientColumns = "SELECT name, client_id, settings, version, sealed, updated FROM clients WHERE "

func scanClient(rows *sql.Rows, c *store.Client) error {
	return rows.Scan(&c.Name, &c.ClientID, jsonText{&c.Settings}, &c.Version, &c.Sealed, instant{&c.Updated})
}

// Client returns a registration of the org's by name, or store.ErrNotFound.
func (o *ExecutorOrg) Client(ctx context.Context, name string) (store.Client, error) {
	rows, err := o.e.read.QueryContext(ctx, clientColumns+"org = ? AND name = ?", string(o.id), name)
	found, err := collect(rows, err, scanClient)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("sqlite: client of %s: %w", o.id, err)
	}
	return found[0], nil
}

// Clients lists by name the org's registrations after one, at most limit.
func (o *ExecutorOrg) Clients(ctx context.Context, after string, limit int) ([]store.Client, error) {
	rows, err := o.e.read.QueryContext(ctx, clientColumns+"org = ? AND name > ? ORDER BY name LIMIT ?",
		string(o.id), after, min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, scanClient)
	if err != nil {
		return nil, fmt.Errorf("sqlite: clients of %s: %w", o.id, err)
	}
	return out, nil
}

// PutClient stores a registration whose version must be the stored one plus 1 (1 for a new one); otherwise store.ErrConflict.
func (o *ExecutorOrg) PutClient(ctx context.Context, c store.Client) error {
	query := `UPDATE clients SET client_id = ?3, settings = ?4, version = ?5, sealed = ?6, updated = ?7
		WHERE org = ?1 AND name = ?2 AND version = ?5 - 1`
	if c.Version == 1 {
		query = "INSERT INTO clients VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING"
	}
	settings, err := store.JSON(c.Settings)
	if err != nil {
		return fmt.Errorf("sqlite: put client of %s: %w", o.id, err)
	}
	return o.one(ctx, "put client", store.ErrConflict, query,
		string(o.id), c.Name, c.ClientID, settings, c.Version, blob(c.Sealed), c.Updated.UnixMicro())
}

// DeleteClient forgets a registration; store.ErrNotFound if there is none of that name and version.
func (o *ExecutorOrg) DeleteClient(ctx context.Context, name string, version int64) error {
	return o.one(ctx, "delete client", store.ErrNotFound, "DELETE FROM clients WHERE org = ? AND name = ? AND version = ?",
		string(o.id), name, version)
}

const authorizationColumns = `SELECT id, connection, provider, subject, status, reason, version, scopes, agent, browser, sealed,
	created, expires FROM authorizations WHERE `

func scanAuthorization(rows *sql.Rows, a *store.Authorization) error {
	return rows.Scan(&a.ID, &a.Connection, &a.Provider, &a.Subject, &a.Status, &a.Reason, &a.Version, jsonText{&a.Scopes}, &a.Agent,
		&a.Browser, &a.Sealed, instant{&a.Created}, instant{&a.Expires})
}

// Authorization returns an attempt to connect, or store.ErrNotFound.
func (o *ExecutorOrg) Authorization(ctx context.Context, id string) (store.Authorization, error) {
	rows, err := o.e.read.QueryContext(ctx, authorizationColumns+"org = ? AND id = ?", string(o.id), id)
	found, err := collect(rows, err, scanAuthorization)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Authorization{}, fmt.Errorf("sqlite: authorization of %s: %w", o.id, err)
	}
	return found[0], nil
}

// Authorizations lists by id the org's attempts to connect after one, at most limit.
func (o *ExecutorOrg) Authorizations(ctx context.Context, after string, limit int) ([]store.Authorization, error) {
	rows, err := o.e.read.QueryContext(ctx, authorizationColumns+"org = ? AND id > ? ORDER BY id LIMIT ?",
		string(o.id), after, min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, scanAuthorization)
	if err != nil {
		return nil, fmt.Errorf("sqlite: authorizations of %s: %w", o.id, err)
	}
	return out, nil
}

// ResealAuthorization replaces the sealed bytes of an attempt; store.ErrConflict unless they are the old ones. Its version stays: whoever
// takes its next step does not notice.
func (o *ExecutorOrg) ResealAuthorization(ctx context.Context, id string, old, sealed []byte) error {
	return o.one(ctx, "reseal authorization", store.ErrConflict,
		"UPDATE authorizations SET sealed = ? WHERE org = ? AND id = ? AND sealed = ?", sealed, string(o.id), id, old)
}

// PutAuthorization stores an attempt whose version must be the stored one plus 1 (1 for a new one); otherwise store.ErrConflict.
func (o *ExecutorOrg) PutAuthorization(ctx context.Context, a store.Authorization) error {
	query := `UPDATE authorizations SET connection = ?3, provider = ?4, subject = ?5, status = ?6, reason = ?7, version = ?8, scopes = ?9,
		agent = ?10, browser = ?11, sealed = ?12, created = ?13, expires = ?14 WHERE org = ?1 AND id = ?2 AND version = ?8 - 1`
	if a.Version == 1 {
		query = "INSERT INTO authorizations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING"
	}
	scopes, err := store.JSON(a.Scopes)
	if err != nil {
		return fmt.Errorf("sqlite: put authorization of %s: %w", o.id, err)
	}
	return o.one(ctx, "put authorization", store.ErrConflict, query, string(o.id), a.ID, a.Connection, a.Provider, a.Subject, a.Status,
		a.Reason, a.Version, scopes, a.Agent, blob(a.Browser), blob(a.Sealed), a.Created.UnixMicro(), a.Expires.UnixMicro())
}
