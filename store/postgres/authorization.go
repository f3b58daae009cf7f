package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/store"
)

const clientColumns = "SELECT name, client_id, settings, version, sealed, updated FROM clients WHERE "

func scanClient(rows pgx.Rows, c *store.Client) error {
	return rows.Scan(&c.Name, &c.ClientID, jsonText{&c.Settings}, &c.Version, &c.Sealed, &c.Updated)
}

// Client returns a registration of the org's by name, or store.ErrNotFound.
func (o *ExecutorOrg) Client(ctx context.Context, name string) (store.Client, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), scanClient, clientColumns+"org = $1 AND name = $2", string(o.id), name)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("postgres: client of %s: %w", o.id, err)
	}
	return found[0], nil
}

// Clients lists by name the org's registrations after one, at most limit.
func (o *ExecutorOrg) Clients(ctx context.Context, after string, limit int) ([]store.Client, error) {
	out, err := collect(ctx, o.e.database, orgScope(o.id), scanClient, clientColumns+"org = $1 AND name > $2 ORDER BY name LIMIT $3",
		string(o.id), after, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: clients of %s: %w", o.id, err)
	}
	return out, nil
}

// PutClient stores a registration whose version must be the stored one plus 1 (1 for a new one); otherwise store.ErrConflict.
func (o *ExecutorOrg) PutClient(ctx context.Context, c store.Client) error {
	query := `UPDATE clients SET client_id = $3, settings = $4, version = $5, sealed = $6, updated = $7
		WHERE org = $1 AND name = $2 AND version = $5 - 1`
	if c.Version == 1 {
		query = "INSERT INTO clients VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
	}
	settings, err := store.JSON(c.Settings)
	if err != nil {
		return fmt.Errorf("postgres: put client of %s: %w", o.id, err)
	}
	return o.one(ctx, "put client", store.ErrConflict, query,
		string(o.id), c.Name, c.ClientID, settings, c.Version, bytes(c.Sealed), c.Updated)
}

// DeleteClient forgets a registration; store.ErrNotFound if there is none of that name and version.
func (o *ExecutorOrg) DeleteClient(ctx context.Context, name string, version int64) error {
	return o.one(ctx, "delete client", store.ErrNotFound, "DELETE FROM clients WHERE org = $1 AND name = $2 AND version = $3",
		string(o.id), name, version)
}

const authorizationColumns = `SELECT id, connection, provider, subject, status, reason, version, scopes, agent, browser, sealed,
	created, expires FROM authorizations WHERE `

func scanAuthorization(rows pgx.Rows, a *store.Authorization) error {
	return rows.Scan(&a.ID, &a.Connection, &a.Provider, &a.Subject, &a.Status, &a.Reason, &a.Version, jsonText{&a.Scopes}, &a.Agent,
		&a.Browser, &a.Sealed, &a.Created, &a.Expires)
}

// Authorization returns an attempt to connect, or store.ErrNotFound.
func (o *ExecutorOrg) Authorization(ctx context.Context, id string) (store.Authorization, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), scanAuthorization, authorizationColumns+"org = $1 AND id = $2", string(o.id), id)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Authorization{}, fmt.Errorf("postgres: authorization of %s: %w", o.id, err)
	}
	return found[0], nil
}

// Authorizations lists by id the org's attempts to connect after one, at most limit.
func (o *ExecutorOrg) Authorizations(ctx context.Context, after string, limit int) ([]store.Authorization, error) {
	out, err := collect(ctx, o.e.database, orgScope(o.id), scanAuthorization,
		authorizationColumns+"org = $1 AND id > $2 ORDER BY id LIMIT $3", string(o.id), after, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: authorizations of %s: %w", o.id, err)
	}
	return out, nil
}

// ResealAuthorization replaces the sealed bytes of an attempt; store.ErrConflict unless they are the old ones. Its version stays: whoever
// takes its next step does not notice.
func (o *ExecutorOrg) ResealAuthorization(ctx context.Context, id string, old, sealed []byte) error {
	return o.one(ctx, "reseal authorization", store.ErrConflict,
		"UPDATE authorizations SET sealed = $4 WHERE org = $1 AND id = $2 AND sealed = $3", string(o.id), id, old, sealed)
}

// PutAuthorization stores an attempt whose version must be the stored one plus 1 (1 for a new one); otherwise store.ErrConflict.
func (o *ExecutorOrg) PutAuthorization(ctx context.Context, a store.Authorization) error {
	query := `UPDATE authorizations SET connection = $3, provider = $4, subject = $5, status = $6, reason = $7, version = $8, scopes = $9,
		agent = $10, browser = $11, sealed = $12, created = $13, expires = $14 WHERE org = $1 AND id = $2 AND version = $8 - 1`
	if a.Version == 1 {
		query = "INSERT INTO authorizations VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING"
	}
	scopes, err := store.JSON(a.Scopes)
	if err != nil {
		return fmt.Errorf("postgres: put authorization of %s: %w", o.id, err)
	}
	return o.one(ctx, "put authorization", store.ErrConflict, query, string(o.id), a.ID, a.Connection, a.Provider, a.Subject, a.Status,
		a.Reason, a.Version, scopes, a.Agent, bytes(a.Browser), bytes(a.Sealed), a.Created, a.Expires)
}
