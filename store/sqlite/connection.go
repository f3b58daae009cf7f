package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/onbehalf/obo/store"
)

const connectionColumns = `SELECT id, provider, pattern, subject, status, status_reason, version, sealed, created, updated,
	account, hint, scopes, settings, expires, renew, due FROM connections WHERE `

func scanConnection(rows *sql.Rows, c *store.Connection) error {
	return rows.Scan(&c.ID, &c.Provider, &c.Pattern, &c.Subject, &c.Status, &c.StatusReason, &c.Version, &c.Sealed,
		instant{&c.Created}, instant{&c.Updated}, &c.Account, &c.Hint, jsonText{&c.Scopes}, jsonText{&c.Settings},
		instant{&c.Expires}, instant{&c.Renew}, instant{&c.Due})
}

// Connection returns one connection, or store.ErrNotFound.
func (o *ExecutorOrg) Connection(ctx context.Context, id string) (store.Connection, error) {
	rows, err := o.e.read.QueryContext(ctx, connectionColumns+"org = ? AND id = ?", string(o.id), id)
	found, err := collect(rows, err, scanConnection)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Connection{}, fmt.Errorf("sqlite: connection of %s: %w", o.id, err)
	}
	return found[0], nil
}

// Connections lists by id the org's connections after one, at most limit.
func (o *ExecutorOrg) Connections(ctx context.Context, after string, limit int) ([]store.Connection, error) {
	rows, err := o.e.read.QueryContext(ctx, connectionColumns+"org = ? AND id > ? ORDER BY id LIMIT ?",
		string(o.id), after, min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, scanConnection)
	if err != nil {
		return nil, fmt.Errorf("sqlite: connections of %s: %w", o.id, err)
	}
	return out, nil
}

// connectionsFor sorts by +id, or the planner walks all the org's connections by their primary key to save the sorting.
const connectionsFor = connectionColumns + "org = ? AND provider = ? AND subject IN ('', ?) ORDER BY +id LIMIT ?"

// ConnectionsFor lists by id the connections to a provider that are the subject's own or shared by the org: the first
// store.MaxPage of them. How many other users have one does not matter to its cost.
func (o *ExecutorOrg) ConnectionsFor(ctx context.Context, provider, subject string) ([]store.Connection, error) {
	rows, err := o.e.read.QueryContext(ctx, connectionsFor, string(o.id), provider, subject, store.MaxPage)
	out, err := collect(rows, err, scanConnection)
	if err != nil {
		return nil, fmt.Errorf("sqlite: connections of %s: %w", o.id, err)
	}
	return out, nil
}

// PutConnection stores a connection whose version must be the stored one plus 1 (1 for a new one), and notes an event when its status
// is not what it was; otherwise store.ErrConflict. A second service account of a provider is one too.
func (o *ExecutorOrg) PutConnection(ctx context.Context, c store.Connection, was string) error {
	const insert = `INSERT INTO connections (org, id, version, provider, pattern, subject, status, status_reason, sealed, created,
		updated, account, hint, scopes, settings, expires, renew, due)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) ON CONFLICT DO NOTHING`
	const update = `UPDATE connections SET version = ?3, provider = ?4, pattern = ?5, subject = ?6, status = ?7,
		status_reason = ?8, sealed = ?9, created = ?10, updated = ?11, account = ?12, hint = ?13, scopes = ?14, settings = ?15,
		expires = ?16, renew = ?17, due = ?18 WHERE org = ?1 AND id = ?2 AND version = ?3 - 1`
	query := update
	if c.Version == 1 {
		query = insert
	}
	scopes, settings, err := store.ConnectionTexts(c)
	if err != nil {
		return fmt.Errorf("sqlite: put connection of %s: %w", o.id, err)
	}
	err = o.e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx, query, string(o.id), c.ID, c.Version, c.Provider, c.Pattern,
			c.Subject, c.Status, c.StatusReason, blob(c.Sealed), c.Created.UnixMicro(), c.Updated.UnixMicro(),
			c.Account, c.Hint, scopes, settings, c.Expires.UnixMicro(), c.Renew.UnixMicro(), c.Due.UnixMicro()))
		if err == nil && !ok {
			err = store.ErrConflict
		}
		if err != nil || was == c.Status {
			return err
		}
		return o.note(ctx, conn, store.ConnectionEvent{
			Connection: c.ID, Provider: c.Provider, Subject: c.Subject, Before: was, After: c.Status, Reason: c.StatusReason, Time: c.Updated,
		})
	})
	if err != nil {
		return fmt.Errorf("sqlite: put connection of %s: %w", o.id, err)
	}
	return nil
}

// note adds an event under the org's next number.
func (o *ExecutorOrg) note(ctx context.Context, conn *sql.Conn, e store.ConnectionEvent) error {
	_, err := conn.ExecContext(ctx, `INSERT INTO connection_heads VALUES (?, 1) ON CONFLICT (org) DO UPDATE SET head = head + 1`, string(o.id))
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `INSERT INTO connection_events
		SELECT org, head, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM connection_heads WHERE org = ?1`,
		string(o.id), e.Connection, e.Provider, e.Subject, e.Before, e.After, e.Reason, e.Time.UnixMicro())
	return err
}

// DeleteConnection forgets a connection and its sealed credential, and notes it; store.ErrNotFound if there is none. It must be of
// that version, or it is store.ErrConflict; 0 stands for any.
func (o *ExecutorOrg) DeleteConnection(ctx context.Context, id string, version int64, now time.Time) error {
	err := o.e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := conn.QueryContext(ctx, connectionColumns+"org = ? AND id = ?", string(o.id), id)
		found, err := collect(rows, err, scanConnection)
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return store.ErrNotFound
		case version != 0 && found[0].Version != version:
			return store.ErrConflict
		}
		if _, err := conn.ExecContext(ctx, "DELETE FROM connections WHERE org = ? AND id = ?", string(o.id), id); err != nil {
			return err
		}
		return o.note(ctx, conn, store.ConnectionEvent{
			Connection: id, Provider: found[0].Provider, Subject: found[0].Subject, Before: found[0].Status, Time: now,
		})
	})
	if err != nil {
		return fmt.Errorf("sqlite: delete connection of %s: %w", o.id, err)
	}
	return nil
}

// ConnectionEvents lists the org's events after a number, oldest first, at most limit.
func (o *ExecutorOrg) ConnectionEvents(ctx context.Context, after uint64, limit int) ([]store.ConnectionEvent, error) {
	rows, err := o.e.read.QueryContext(ctx, `SELECT sequence, connection, provider, subject, before, after, reason, time
		FROM connection_events WHERE org = ? AND sequence > ? ORDER BY sequence LIMIT ?`,
		string(o.id), cursor(after), min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, func(rows *sql.Rows, e *store.ConnectionEvent) error {
		return rows.Scan(&e.Sequence, &e.Connection, &e.Provider, &e.Subject, &e.Before, &e.After, &e.Reason, instant{&e.Time})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: connection events of %s: %w", o.id, err)
	}
	return out, nil
}

// DueConnections lists the connections of all orgs that are due at a time, the longest due first, at most limit.
func (e *Executor) DueConnections(ctx context.Context, now time.Time, limit int) ([]store.OrgConnection, error) {
	rows, err := e.read.QueryContext(ctx, "SELECT org, id FROM connections WHERE due > ? AND due <= ? ORDER BY due LIMIT ?",
		time.Time{}.UnixMicro(), now.UnixMicro(), min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, func(rows *sql.Rows, c *store.OrgConnection) error { return rows.Scan(&c.Org, &c.ID) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: due connections: %w", err)
	}
	return out, nil
}

// AcquireRefresh takes the right to refresh a connection until a time; store.ErrConflict while another has it. What a holder before
// was about to spend, and did not settle, comes with it.
func (o *ExecutorOrg) AcquireRefresh(ctx context.Context, connection string, now, until time.Time) (store.Refreshing, error) {
	r := store.Refreshing{Connection: connection, Until: until}
	err := o.e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := conn.QueryContext(ctx, `INSERT INTO refreshes VALUES (?1, ?2, 1, ?3, X'', ?4)
			ON CONFLICT (org, connection) DO UPDATE SET fence = fence + 1, until = excluded.until WHERE until <= ?5
			RETURNING fence, spent, spent_at`,
			string(o.id), connection, until.UnixMicro(), time.Time{}.UnixMicro(), now.UnixMicro())
		found, err := collect(rows, err, func(rows *sql.Rows, r *store.Refreshing) error {
			return rows.Scan(&r.Fence, &r.Spent, instant{&r.SpentAt})
		})
		if err == nil && len(found) == 0 {
			err = store.ErrConflict
		}
		if err != nil {
			return err
		}
		r.Fence, r.Spent, r.SpentAt = found[0].Fence, found[0].Spent, found[0].SpentAt
		return nil
	})
	if err != nil {
		return store.Refreshing{}, fmt.Errorf("sqlite: acquire refresh of %s: %w", o.id, err)
	}
	return r, nil
}

// SpendRefresh notes what the holder is about to spend; store.ErrConflict when another has taken over.
func (o *ExecutorOrg) SpendRefresh(ctx context.Context, r store.Refreshing, spent []byte, now time.Time) error {
	return o.one(ctx, "spend refresh", store.ErrConflict,
		"UPDATE refreshes SET spent = ?4, spent_at = ?5 WHERE org = ?1 AND connection = ?2 AND fence = ?3",
		string(o.id), r.Connection, r.Fence, blob(spent), now.UnixMicro())
}

// ReleaseRefresh gives the right back; settled says that what came of what was spent is known. store.ErrConflict when another has
// taken over.
func (o *ExecutorOrg) ReleaseRefresh(ctx context.Context, r store.Refreshing, settled bool) error {
	return o.one(ctx, "release refresh", store.ErrConflict,
		"UPDATE refreshes SET until = ?4, spent = CASE WHEN ?5 THEN X'' ELSE spent END WHERE org = ?1 AND connection = ?2 AND fence = ?3",
		string(o.id), r.Connection, r.Fence, time.Time{}.UnixMicro(), settled)
}
