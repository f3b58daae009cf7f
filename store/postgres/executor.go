package postgres

import (
	"context"
	"errors"
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

// Orgs lists every org that has a data key, a connection or a provider record.
func (e *Executor) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	orgs, err := collect(ctx, e.database, wideScope(), scanOrg,
		"SELECT org FROM data_keys UNION SELECT org FROM connections UNION SELECT org FROM providers ORDER BY org")
	if err != nil {
		return nil, fmt.Errorf("postgres: orgs: %w", err)
	}
	return orgs, nil
}

// PurgeExpired forgets used proofs whose until is before now: they are refused for their age.
func (e *Executor) PurgeExpired(ctx context.Context, now time.Time) error {
	if _, err := e.exec(ctx, wideScope(), statement{purgeConsumed, []any{now}}); err != nil {
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

// DeleteDataKey forgets the org's data key, and with it whatever it sealed; store.ErrNotFound if there is none. Its bytes
// stay in the table's file until the next VACUUM, and in the write-ahead log and backups as long as those are kept: still
// sealed by the key-encryption key.
func (o *ExecutorOrg) DeleteDataKey(ctx context.Context) error {
	return o.one(ctx, "delete data key", store.ErrNotFound, "DELETE FROM data_keys WHERE org = $1", string(o.id))
}

const connectionColumns = `SELECT id, provider, pattern, subject, status, status_reason, version, sealed, created, updated
	FROM connections WHERE `

func scanConnection(rows pgx.Rows, c *store.Connection) error {
	return rows.Scan(&c.ID, &c.Provider, &c.Pattern, &c.Subject, &c.Status, &c.StatusReason, &c.Version, &c.Sealed,
		&c.Created, &c.Updated)
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

// PutConnection stores a connection whose version must be the stored one plus 1 (1 for a new one); otherwise
// store.ErrConflict.
func (o *ExecutorOrg) PutConnection(ctx context.Context, c store.Connection) error {
	const insert = `INSERT INTO connections
		(org, id, version, provider, pattern, subject, status, status_reason, sealed, created, updated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`
	const update = `UPDATE connections SET version = $3, provider = $4, pattern = $5, subject = $6, status = $7,
		status_reason = $8, sealed = $9, created = $10, updated = $11 WHERE org = $1 AND id = $2 AND version = $3 - 1`
	query := update
	if c.Version == 1 {
		query = insert
	}
	return o.one(ctx, "put connection", store.ErrConflict, query, string(o.id), c.ID, c.Version, c.Provider, c.Pattern,
		c.Subject, c.Status, c.StatusReason, bytes(c.Sealed), c.Created, c.Updated)
}

// DeleteConnection forgets a connection and its sealed credential; store.ErrNotFound if there is none. It must be of that version, or
// it is store.ErrConflict; 0 stands for any.
func (o *ExecutorOrg) DeleteConnection(ctx context.Context, id string, version int64) error {
	err := o.one(ctx, "delete connection", store.ErrNotFound,
		"DELETE FROM connections WHERE org = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3)", string(o.id), id, version)
	if version == 0 || !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, err := o.Connection(ctx, id); err != nil {
		return err
	}
	return fmt.Errorf("postgres: delete connection of %s: %w", o.id, store.ErrConflict)
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
