package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/store"
)

const connectionColumns = `SELECT id, provider, pattern, subject, status, status_reason, version, sealed, created, updated,
	account, hint, scopes, settings, expires, renew, due FROM connections WHERE `

func scanConnection(rows pgx.Rows, c *store.Connection) error {
	return rows.Scan(&c.ID, &c.Provider, &c.Pattern, &c.Subject, &c.Status, &c.StatusReason, &c.Version, &c.Sealed,
		&c.Created, &c.Updated, &c.Account, &c.Hint, jsonText{&c.Scopes}, jsonText{&c.Settings}, &c.Expires, &c.Renew, &c.Due)
}

// Connection returns one connection, or store.ErrNotFound.
func (o *ExecutorOrg) Connection(ctx context.Context, id string) (store.Connection, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), scanConnection,
		connectionColumns+"org = $1 AND id = $2", string(o.id), id)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Connection{}, fmt.Errorf("postgres: connection of %s: %w", o.id, err)
	}
	return found[0], nil
}

// Connections lists by id the org's connections after one, at most limit.
func (o *ExecutorOrg) Connections(ctx context.Context, after string, limit int) ([]store.Connection, error) {
	out, err := collect(ctx, o.e.database, orgScope(o.id), scanConnection,
		connectionColumns+"org = $1 AND id > $2 ORDER BY id LIMIT $3", string(o.id), after, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: connections of %s: %w", o.id, err)
	}
	return out, nil
}

// ConnectionsFor lists by id the connections to a provider that are the subject's own or shared by the org: the first
// store.MaxPage of them. How many other users have one does not matter to its cost.
func (o *ExecutorOrg) ConnectionsFor(ctx context.Context, provider, subject string) ([]store.Connection, error) {
	out, err := collect(ctx, o.e.database, orgScope(o.id), scanConnection,
		connectionColumns+"org = $1 AND provider = $2 AND subject IN ('', $3) ORDER BY id LIMIT $4",
		string(o.id), provider, subject, store.MaxPage)
	if err != nil {
		return nil, fmt.Errorf("postgres: connections of %s: %w", o.id, err)
	}
	return out, nil
}

// PutConnection stores a connection whose version must be the stored one plus 1 (1 for a new one), and notes an event when its status
// is not what it was; otherwise store.ErrConflict. A second service account of a provider is one too.
func (o *ExecutorOrg) PutConnection(ctx context.Context, c store.Connection, was string) error {
	const insert = `INSERT INTO connections (org, id, version, provider, pattern, subject, status, status_reason, sealed, created,
		updated, account, hint, scopes, settings, expires, renew, due)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) ON CONFLICT DO NOTHING RETURNING 1`
	const update = `UPDATE connections SET version = $3, provider = $4, pattern = $5, subject = $6, status = $7,
		status_reason = $8, sealed = $9, created = $10, updated = $11, account = $12, hint = $13, scopes = $14, settings = $15,
		expires = $16, renew = $17, due = $18 WHERE org = $1 AND id = $2 AND version = $3 - 1 RETURNING 1`
	query := update
	if c.Version == 1 {
		query = insert
	}
	scopes, settings, err := store.ConnectionTexts(c)
	if err != nil {
		return fmt.Errorf("postgres: put connection of %s: %w", o.id, err)
	}
	return o.one(ctx, "put connection", store.ErrConflict, "WITH put AS ("+query+`),
		head AS (INSERT INTO connection_heads AS h SELECT $1, 1 FROM put WHERE $19 <> $7
			ON CONFLICT (org) DO UPDATE SET head = h.head + 1 RETURNING head),
		noted AS (INSERT INTO connection_events SELECT $1, head, $2, $4, $6, $19, $7, $8, $11 FROM head)
		SELECT FROM put`,
		string(o.id), c.ID, c.Version, c.Provider, c.Pattern, c.Subject, c.Status, c.StatusReason, bytes(c.Sealed), c.Created, c.Updated,
		c.Account, c.Hint, scopes, settings, c.Expires, c.Renew, c.Due, was)
}

// DeleteConnection forgets a connection and its sealed credential, and notes it; store.ErrNotFound if there is none. It must be of
// that version, or it is store.ErrConflict; 0 stands for any.
func (o *ExecutorOrg) DeleteConnection(ctx context.Context, id string, version int64, now time.Time) error {
	err := o.one(ctx, "delete connection", store.ErrNotFound, `WITH gone AS (
			DELETE FROM connections WHERE org = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3) RETURNING provider, subject, status),
		head AS (INSERT INTO connection_heads AS h SELECT $1, 1 FROM gone ON CONFLICT (org) DO UPDATE SET head = h.head + 1 RETURNING head),
		noted AS (INSERT INTO connection_events SELECT $1, head, $2, provider, subject, status, '', '', $4 FROM head, gone)
		SELECT FROM gone`, string(o.id), id, version, now)
	if version == 0 || !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, err := o.Connection(ctx, id); err != nil {
		return err
	}
	return fmt.Errorf("postgres: delete connection of %s: %w", o.id, store.ErrConflict)
}

// ConnectionEvents lists the org's events after a number, oldest first, at most limit.
func (o *ExecutorOrg) ConnectionEvents(ctx context.Context, after uint64, limit int) ([]store.ConnectionEvent, error) {
	out, err := collect(ctx, o.e.database, orgScope(o.id), func(rows pgx.Rows, e *store.ConnectionEvent) error {
		return rows.Scan(&e.Sequence, &e.Connection, &e.Provider, &e.Subject, &e.Before, &e.After, &e.Reason, &e.Time)
	}, `SELECT sequence, connection, provider, subject, before, after, reason, time
		FROM connection_events WHERE org = $1 AND sequence > $2 ORDER BY sequence LIMIT $3`, string(o.id), cursor(after), page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: connection events of %s: %w", o.id, err)
	}
	return out, nil
}

// DueConnections lists the connections of all orgs that are due at a time, the longest due first, at most limit.
func (e *Executor) DueConnections(ctx context.Context, now time.Time, limit int) ([]store.OrgConnection, error) {
	out, err := collect(ctx, e.database, wideScope(), func(rows pgx.Rows, c *store.OrgConnection) error { return rows.Scan(&c.Org, &c.ID) },
		"SELECT org, id FROM connections WHERE due > $1 AND due <= $2 ORDER BY due LIMIT $3", time.Time{}, now, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: due connections: %w", err)
	}
	return out, nil
}

// AcquireRefresh takes the right to refresh a connection until a time; store.ErrConflict while another has it. What a holder before
// was about to spend, and did not settle, comes with it.
func (o *ExecutorOrg) AcquireRefresh(ctx context.Context, connection string, now, until time.Time) (store.Refreshing, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), func(rows pgx.Rows, r *store.Refreshing) error {
		r.Connection, r.Until = connection, until
		return rows.Scan(&r.Fence, &r.Spent, &r.SpentAt)
	}, `INSERT INTO refreshes AS r VALUES ($1, $2, 1, $3, '', $4)
		ON CONFLICT (org, connection) DO UPDATE SET fence = r.fence + 1, until = excluded.until WHERE r.until <= $5
		RETURNING fence, spent, spent_at`, string(o.id), connection, until, time.Time{}, now)
	if err == nil && len(found) == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return store.Refreshing{}, fmt.Errorf("postgres: acquire refresh of %s: %w", o.id, err)
	}
	return found[0], nil
}

// SpendRefresh notes what the holder is about to spend; store.ErrConflict when another has taken over.
func (o *ExecutorOrg) SpendRefresh(ctx context.Context, r store.Refreshing, spent []byte, now time.Time) error {
	return o.one(ctx, "spend refresh", store.ErrConflict,
		"UPDATE refreshes SET spent = $4, spent_at = $5 WHERE org = $1 AND connection = $2 AND fence = $3",
		string(o.id), r.Connection, r.Fence, bytes(spent), now)
}

// ReleaseRefresh gives the right back; settled says that what came of what was spent is known. store.ErrConflict when another has
// taken over.
func (o *ExecutorOrg) ReleaseRefresh(ctx context.Context, r store.Refreshing, settled bool) error {
	return o.one(ctx, "release refresh", store.ErrConflict,
		"UPDATE refreshes SET until = $4, spent = CASE WHEN $5 THEN '' ELSE spent END WHERE org = $1 AND connection = $2 AND fence = $3",
		string(o.id), r.Connection, r.Fence, time.Time{}, settled)
}
