package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Executor is the executor's store: sealed data keys, connections, provider records and the audit trail of calls. Its
// methods may be called from many goroutines, and many replicas may share one database.
type Executor struct {
	*database
	trail
}

// OpenExecutor connects to the executor's database and brings its tables up to date. dsn is as for OpenSTS.
func OpenExecutor(ctx context.Context, dsn string) (*Executor, error) {
	migrations, err := fs.Sub(executorMigrations, "migrations/executor")
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, dsn, migrations)
	if err != nil {
		return nil, err
	}
	return &Executor{database: d, trail: trail{db: d, lock: lockExecutorAudit}}, nil
}

// Org returns the only way to the data of one org.
func (e *Executor) Org(id delegation.OrgID) *ExecutorOrg { return &ExecutorOrg{e: e, id: id} }

// Orgs lists every org that has a data key, a connection, a provider record or a client.
func (e *Executor) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	orgs, err := collect(ctx, e.database, wideScope(), scanOrg,
		"SELECT org FROM data_keys UNION SELECT org FROM connections UNION SELECT org FROM providers UNION SELECT org FROM clients ORDER BY org")
	if err != nil {
		return nil, fmt.Errorf("postgres: orgs: %w", err)
	}
	return orgs, nil
}

// PurgeExpired forgets used proofs whose until is before now (they are refused for their age), authorizations that expired an hour
// ago, events of more than store.EventsKept, and who refreshed what a day ago, but for what was spent without a word of what came
// of it.
func (e *Executor) PurgeExpired(ctx context.Context, now time.Time) error {
	_, err := e.exec(ctx, wideScope(),
		statement{purgeConsumed, []any{now}},
		statement{"DELETE FROM authorizations WHERE expires < $1", []any{now.Add(-time.Hour)}},
		statement{"DELETE FROM connection_events WHERE time < $1", []any{now.Add(-store.EventsKept)}},
		statement{"DELETE FROM refreshes WHERE spent = '' AND until < $1", []any{now.Add(-24 * time.Hour)}},
	)
	if err != nil {
		return fmt.Errorf("postgres: purge expired: %w", err)
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
	found, err := collect(ctx, o.e.database, orgScope(o.id), func(rows pgx.Rows, k *store.DataKey) error {
		return rows.Scan(&k.Sealed, &k.Version)
	}, "SELECT sealed, version FROM data_keys WHERE org = $1", string(o.id))
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.DataKey{}, fmt.Errorf("postgres: data key of %s: %w", o.id, err)
	}
	return found[0], nil
}

// CreateDataKey stores the org's data key; store.ErrConflict if there is one: replacing it would orphan every credential.
func (o *ExecutorOrg) CreateDataKey(ctx context.Context, k store.DataKey) error {
	return o.one(ctx, "create data key", store.ErrConflict,
		"INSERT INTO data_keys (org, sealed, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		string(o.id), bytes(k.Sealed), k.Version)
}

// ResealDataKey replaces the sealed bytes of the org's data key; store.ErrConflict unless they are the old ones. A key that was
// deleted meanwhile stays so.
func (o *ExecutorOrg) ResealDataKey(ctx context.Context, old, sealed []byte) error {
	return o.one(ctx, "reseal data key", store.ErrConflict,
		"UPDATE data_keys SET sealed = $3 WHERE org = $1 AND sealed = $2", string(o.id), old, sealed)
}

// DropDataKey is ResealDataKey with bytes that lack a key of before; prefix is what begins all that this key has sealed. From then on
// what begins so is stored nowhere: whoever would answers store.ErrConflict. So does this, when something
// still does. The bytes of before stay as those of DeleteDataKey do.
func (o *ExecutorOrg) DropDataKey(ctx context.Context, old, sealed, prefix []byte) error {
	rows, err := o.e.exec(ctx, orgScope(o.id),
		statement{"SELECT FROM data_keys WHERE org = $1 FOR UPDATE", []any{string(o.id)}}, // then look: a writer has stored it, or waits
		statement{`WITH dropped AS (
			UPDATE data_keys SET sealed = $3 WHERE org = $1 AND sealed = $2
				AND NOT EXISTS (SELECT FROM connections WHERE org = $1 AND substr(sealed, 1, 5) = $4)
				AND NOT EXISTS (SELECT FROM clients WHERE org = $1 AND substr(sealed, 1, 5) = $4)
				AND NOT EXISTS (SELECT FROM authorizations WHERE org = $1 AND substr(sealed, 1, 5) = $4)
				AND NOT EXISTS (SELECT FROM webhooks WHERE org = $1 AND substr(sealed, 1, 5) = $4)
			RETURNING org
		) INSERT INTO dropped_data_keys (org, prefix) SELECT org, $4 FROM dropped
			ON CONFLICT (org, prefix) DO UPDATE SET prefix = excluded.prefix`, []any{string(o.id), old, sealed, prefix}})
	if err == nil && rows == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("postgres: drop data key of %s: %w", o.id, err)
	}
	return nil
}

// DeleteDataKey forgets the org's data key, and with it whatever it sealed; store.ErrNotFound if there is none. Its bytes
// stay in the table's file until the next VACUUM, and in the write-ahead log and backups as long as those are kept: still
// sealed by the key-encryption key.
func (o *ExecutorOrg) DeleteDataKey(ctx context.Context) error {
	return o.one(ctx, "delete data key", store.ErrNotFound, "DELETE FROM data_keys WHERE org = $1", string(o.id))
}

const selectProviders = "SELECT name, text FROM providers WHERE org = $1 ORDER BY name"

func scanProvider(rows pgx.Rows, p *store.ProviderRecord) error { return rows.Scan(&p.Name, &p.Text) }

// Providers lists the org's own provider records by name.
func (o *ExecutorOrg) Providers(ctx context.Context) ([]store.ProviderRecord, error) {
	out, err := collect(ctx, o.e.database, orgScope(o.id), scanProvider, selectProviders, string(o.id))
	if err != nil {
		return nil, fmt.Errorf("postgres: providers of %s: %w", o.id, err)
	}
	return out, nil
}

// PutProviders replaces all the org's provider records when they are those that the caller has seen, by name; otherwise
// store.ErrConflict. So is the same name twice.
func (o *ExecutorOrg) PutProviders(ctx context.Context, seen, records []store.ProviderRecord) error {
	err := o.e.update(ctx, orgScope(o.id), lockProviders, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectProviders, string(o.id))
		if err != nil {
			return err
		}
		current, err := gather(rows, scanProvider)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(current, seen, store.ProviderRecord.Equal) {
			return store.ErrConflict
		}
		if _, err := tx.Exec(ctx, "DELETE FROM providers WHERE org = $1", string(o.id)); err != nil {
			return err
		}
		for _, p := range records {
			tag, err := tx.Exec(ctx, "INSERT INTO providers (org, name, text) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
				string(o.id), p.Name, bytes(p.Text))
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return store.ErrConflict
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: put providers of %s: %w", o.id, err)
	}
	return nil
}

// Consume marks a key as used. For one key of one org it succeeds once, whoever asks, until PurgeExpired forgets it after
// until; otherwise store.ErrConflict.
func (o *ExecutorOrg) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return consume(ctx, o.e.database, o.id, key, until)
}

// AuditRecords lists the org's records that q chooses, oldest first.
func (o *ExecutorOrg) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return o.e.records(ctx, o.id, q)
}

// one runs a statement that must change a row, and answers otherwise with the sentinel.
func (o *ExecutorOrg) one(ctx context.Context, what string, otherwise error, query string, args ...any) error {
	rows, err := o.e.exec(ctx, orgScope(o.id), statement{query, args})
	if err == nil && rows == 0 {
		err = otherwise
	}
	if err != nil {
		return fmt.Errorf("postgres: %s of %s: %w", what, o.id, err)
	}
	return nil
}
