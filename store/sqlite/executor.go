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

// Orgs lists every org that has a data key, a connection, a provider record or a client.
func (e *Executor) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	rows, err := e.read.QueryContext(ctx,
		"SELECT org FROM data_keys UNION SELECT org FROM connections UNION SELECT org FROM providers UNION SELECT org FROM clients ORDER BY org")
	orgs, err := collect(rows, err, func(rows *sql.Rows, id *delegation.OrgID) error { return rows.Scan(id) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: orgs: %w", err)
	}
	return orgs, nil
}

// PurgeExpired forgets used proofs whose until is before now (they are refused for their age), authorizations that expired an hour
// ago, events of more than store.EventsKept, and who refreshed what a day ago, but for what was spent without a word of what came
// of it.
func (e *Executor) PurgeExpired(ctx context.Context, now time.Time) error {
	err := e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		for _, q := range []struct {
			sql    string
			before time.Time
		}{
			{purgeConsumed, now},
			{"DELETE FROM authorizations WHERE expires < ?", now.Add(-time.Hour)},
			{"DELETE FROM connection_events WHERE time < ?", now.Add(-store.EventsKept)},
			{"DELETE FROM refreshes WHERE spent = X'' AND until < ?", now.Add(-24 * time.Hour)},
		} {
			if _, err := conn.ExecContext(ctx, q.sql, q.before.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
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

// DropDataKey is ResealDataKey with bytes that lack a key of before; prefix is what begins all that this key has sealed. From then on
// what begins so is stored nowhere: whoever would answers store.ErrConflict. So does this, when something
// still does. The bytes of before leave the disk as those of DeleteDataKey do.
func (o *ExecutorOrg) DropDataKey(ctx context.Context, old, sealed, prefix []byte) error {
	err := o.e.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx, `UPDATE data_keys SET sealed = ?1 WHERE org = ?2 AND sealed = ?3
			AND NOT EXISTS (SELECT 1 FROM connections WHERE org = ?2 AND substr(sealed, 1, 5) = ?4)
			AND NOT EXISTS (SELECT 1 FROM clients WHERE org = ?2 AND substr(sealed, 1, 5) = ?4)
			AND NOT EXISTS (SELECT 1 FROM authorizations WHERE org = ?2 AND substr(sealed, 1, 5) = ?4)
			AND NOT EXISTS (SELECT 1 FROM webhooks WHERE org = ?2 AND substr(sealed, 1, 5) = ?4)`, sealed, string(o.id), old, prefix))
		if err == nil && !ok {
			err = store.ErrConflict
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, "INSERT INTO dropped_data_keys (org, prefix) VALUES (?, ?) ON CONFLICT DO NOTHING",
				string(o.id), prefix)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: drop data key of %s: %w", o.id, err)
	}
	return o.emptyLog(ctx, "dropped")
}

// DeleteDataKey forgets the org's data key, and with it whatever it sealed; store.ErrNotFound if there is none. The bytes
// are overwritten in the file (secure_delete) and the log that still holds them is emptied, as far as readers allow.
func (o *ExecutorOrg) DeleteDataKey(ctx context.Context) error {
	err := o.one(ctx, "delete data key", store.ErrNotFound, "DELETE FROM data_keys WHERE org = ?", string(o.id))
	if err != nil {
		return err
	}
	return o.emptyLog(ctx, "deleted")
}

// emptyLog lets what was overwritten leave the log too.
func (o *ExecutorOrg) emptyLog(ctx context.Context, done string) error {
	err := o.e.do(&job{ctx: context.WithoutCancel(ctx), alone: true, f: func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	}})
	if err != nil {
		return fmt.Errorf("sqlite: data key of %s is %s, but the log was not emptied: %w", o.id, done, err)
	}
	return nil
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
