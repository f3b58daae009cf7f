package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Executor is the executor's store: sealed data keys, connections, provider records and the audit trail of calls. Its
// methods may be called from many goroutines.
type Executor struct {
	*database
	trail

	consume *sql.Stmt
}

// OpenExecutor opens or creates the executor's database at path. The folder must exist. The file gets mode 0600, and one
// that others may read is refused.
func OpenExecutor(ctx context.Context, path string) (*Executor, error) {
	migrations, err := fs.Sub(executorMigrations, "migrations/executor")
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, path, migrations)
	if err != nil {
		return nil, err
	}
	e := &Executor{database: d}
	if err := e.prepare(ctx); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	return e, nil
}

// prepare compiles the statements of a call once.
func (e *Executor) prepare(ctx context.Context) (err error) {
	if e.trail, err = newTrail(ctx, e.database); err != nil {
		return err
	}
	e.consume, err = prepareConsume(ctx, e.database)
	return err
}

// Org returns the only way to the data of one org.
func (e *Executor) Org(id delegation.OrgID) *ExecutorOrg { return &ExecutorOrg{e: e, id: id} }

// Orgs lists every org that has a data key, a connection or a provider record.
func (e *Executor) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	rows, err := e.read.QueryContext(ctx,
		"SELECT org FROM data_keys UNION SELECT org FROM connections UNION SELECT org FROM providers ORDER BY org")
	orgs, err := collect(rows, err, func(rows *sql.Rows, id *delegation.OrgID) error { return rows.Scan(id) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: orgs: %w", err)
	}
	return orgs, nil
}

// PurgeExpired forgets used proofs whose until is before now: they are refused for their age.
func (e *Executor) PurgeExpired(ctx context.Context, now time.Time) error {
	err := e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, purgeConsumed, now.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: purge expired: %w", err)
	}
	return nil
}

// ExecutorOrg is one org's part of the executor's store. It is cheap to make and holds no state.
type ExecutorOrg struct {
	e  *Executor
	id delegation.OrgID
}

// DataKey returns the org's sealed data key, or store.ErrNotFound.
func (o *ExecutorOrg) DataKey(ctx context.Context) (store.DataKey, error) {
	var k store.DataKey
	err := o.e.read.QueryRowContext(ctx, "SELECT sealed, version FROM data_keys WHERE org = ?", string(o.id)).
		Scan(&k.Sealed, &k.Version)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.DataKey{}, fmt.Errorf("sqlite: data key of %s: %w", o.id, err)
	}
	return k, nil
}

// CreateDataKey stores the org's data key; store.ErrConflict if there is one: replacing it would orphan every credential.
func (o *ExecutorOrg) CreateDataKey(ctx context.Context, k store.DataKey) error {
	return o.one(ctx, "create data key", store.ErrConflict,
		"INSERT INTO data_keys (org, sealed, version) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
		string(o.id), blob(k.Sealed), k.Version)
}

// ResealDataKey replaces the sealed bytes of the org's data key; store.ErrConflict unless they are the old ones. A key that was
// deleted meanwhile stays so.
func (o *ExecutorOrg) ResealDataKey(ctx context.Context, old, sealed []byte) error {
	return o.one(ctx, "reseal data key", store.ErrConflict,
		"UPDATE data_keys SET sealed = ? WHERE org = ? AND sealed = ?", sealed, string(o.id), old)
}

// DeleteDataKey forgets the org's data key, and with it whatever it sealed; store.ErrNotFound if there is none. The bytes
// are overwritten in the file (secure_delete) and the log that still holds them is emptied, as far as readers allow.
func (o *ExecutorOrg) DeleteDataKey(ctx context.Context) error {
	err := o.one(ctx, "delete data key", store.ErrNotFound, "DELETE FROM data_keys WHERE org = ?", string(o.id))
	if err != nil {
		return err
	}
	err = o.e.do(&job{ctx: context.WithoutCancel(ctx), alone: true, f: func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	}})
	if err != nil {
		return fmt.Errorf("sqlite: data key of %s is deleted, but the log was not emptied: %w", o.id, err)
	}
	return nil
}

const connectionColumns = `SELECT id, provider, pattern, subject, status, status_reason, version, sealed, created, updated
	FROM connections WHERE `

func scanConnection(rows *sql.Rows, c *store.Connection) error {
	return rows.Scan(&c.ID, &c.Provider, &c.Pattern, &c.Subject, &c.Status, &c.StatusReason, &c.Version, &c.Sealed,
		instant{&c.Created}, instant{&c.Updated})
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

// PutConnection stores a connection whose version must be the stored one plus 1 (1 for a new one); otherwise
// store.ErrConflict.
func (o *ExecutorOrg) PutConnection(ctx context.Context, c store.Connection) error {
	const insert = `INSERT INTO connections
		(org, id, version, provider, pattern, subject, status, status_reason, sealed, created, updated)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING`
	const update = `UPDATE connections SET version = ?3, provider = ?4, pattern = ?5, subject = ?6, status = ?7,
		status_reason = ?8, sealed = ?9, created = ?10, updated = ?11 WHERE org = ?1 AND id = ?2 AND version = ?3 - 1`
	query := update
	if c.Version == 1 {
		query = insert
	}
	return o.one(ctx, "put connection", store.ErrConflict, query, string(o.id), c.ID, c.Version, c.Provider, c.Pattern,
		c.Subject, c.Status, c.StatusReason, blob(c.Sealed), c.Created.UnixMicro(), c.Updated.UnixMicro())
}

// DeleteConnection forgets a connection and its sealed credential; store.ErrNotFound if there is none. It must be of that version, or
// it is store.ErrConflict; 0 stands for any.
func (o *ExecutorOrg) DeleteConnection(ctx context.Context, id string, version int64) error {
	err := o.one(ctx, "delete connection", store.ErrNotFound,
		"DELETE FROM connections WHERE org = ?1 AND id = ?2 AND (?3 = 0 OR version = ?3)", string(o.id), id, version)
	if version == 0 || !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, err := o.Connection(ctx, id); err != nil {
		return err
	}
	return fmt.Errorf("sqlite: delete connection of %s: %w", o.id, store.ErrConflict)
}

const selectProviders = "SELECT name, text FROM providers WHERE org = ? ORDER BY name"

func scanProvider(rows *sql.Rows, p *store.ProviderRecord) error { return rows.Scan(&p.Name, &p.Text) }

// Providers lists the org's own provider records by name.
func (o *ExecutorOrg) Providers(ctx context.Context) ([]store.ProviderRecord, error) {
	rows, err := o.e.read.QueryContext(ctx, selectProviders, string(o.id))
	out, err := collect(rows, err, scanProvider)
	if err != nil {
		return nil, fmt.Errorf("sqlite: providers of %s: %w", o.id, err)
	}
	return out, nil
}

// PutProviders replaces all the org's provider records when they are those that the caller has seen, by name; otherwise
// store.ErrConflict. So is the same name twice.
func (o *ExecutorOrg) PutProviders(ctx context.Context, seen, records []store.ProviderRecord) error {
	err := o.e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := conn.QueryContext(ctx, selectProviders, string(o.id))
		current, err := collect(rows, err, scanProvider)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(current, seen, store.ProviderRecord.Equal) {
			return store.ErrConflict
		}
		if _, err := conn.ExecContext(ctx, "DELETE FROM providers WHERE org = ?", string(o.id)); err != nil {
			return err
		}
		for _, p := range records {
			ok, err := changed(conn.ExecContext(ctx,
				"INSERT INTO providers (org, name, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
				string(o.id), p.Name, blob(p.Text)))
			if err != nil {
				return err
			}
			if !ok {
				return store.ErrConflict
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqlite: put providers of %s: %w", o.id, err)
	}
	return nil
}

// Consume marks a key as used. For one key of one org it succeeds once, whoever asks, until PurgeExpired forgets it after
// until; otherwise store.ErrConflict.
func (o *ExecutorOrg) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return consume(ctx, o.e.database, o.e.consume, o.id, key, until)
}

// AuditRecords lists the org's records that q chooses, oldest first.
func (o *ExecutorOrg) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return o.e.records(ctx, o.id, q)
}

// one runs a statement that must change a row, and answers otherwise with the sentinel.
func (o *ExecutorOrg) one(ctx context.Context, what string, otherwise error, query string, args ...any) error {
	err := o.e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx, query, args...))
		if err == nil && !ok {
			err = otherwise
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: %s of %s: %w", what, o.id, err)
	}
	return nil
}
