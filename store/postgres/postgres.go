// Package postgres keeps the records of package store in PostgreSQL (14 or newer), for several replicas at once.
//
// The role. The connection string names a role that owns its database, or its schema through search_path, and that is
// neither a superuser nor BYPASSRLS: row-level security does not hold for those two, so they are refused at the start.
//
//	CREATE ROLE obo_sts LOGIN PASSWORD '…';  CREATE DATABASE obo_sts OWNER obo_sts;
//
// The token server and the executor have separate databases and separate roles; neither can read the other's.
//
// The second lock. Every transaction names its org in the setting obo.org, for that transaction only, and row-level
// security shows it no other org's rows. What concerns the whole server (the feed, signing keys, purging, appending audit
// records of several orgs) says obo.wide instead, which reaches only what the policies in migrations/ name. A query that
// forgot its WHERE, or its setting, finds nothing.
//
// The connection string must reach the server itself or a pool that keeps a session: LISTEN does not work through a pool
// that changes the session between transactions.
package postgres

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

//go:embed migrations/sts/*.sql
var stsMigrations embed.FS

//go:embed migrations/executor/*.sql
var executorMigrations embed.FS

// database is one connected database.
type database struct {
	pool   *pgxpool.Pool
	listen *pgx.ConnConfig // for connections outside the pool
	done   chan struct{}   // closed by Close
	wait   sync.WaitGroup
	once   sync.Once
}

// open connects, refuses a role that row-level security does not bind, and brings the tables up to date.
func open(ctx context.Context, dsn string, migrations fs.FS) (*database, error) {
	config, err := pgxpool.ParseConfig(dsn) // its error holds no password
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = int32(max(10, 4*runtime.GOMAXPROCS(0)))
	}
	params := config.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "obo"
	}
	// The order of sequence numbers rests on each statement seeing what was committed before it began.
	params["default_transaction_isolation"] = "read committed"
	d := &database{listen: config.ConnConfig.Copy(), done: make(chan struct{})}

	// By default pgx closes a connection whose context ends, so one burst of timeouts would empty the pool. Asking the
	// server to cancel keeps it.
	config.ConnConfig.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 2 * time.Second}
	}
	config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		c.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if err := d.bound(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.migrate(ctx, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: migrate: %w", err), d.Close())
	}
	return d, nil
}

// bound refuses a server on which this package's promises would not hold.
func (d *database) bound(ctx context.Context) error {
	var role, synchronous string
	var unbound bool
	err := d.pool.QueryRow(ctx, `SELECT rolname, rolsuper OR rolbypassrls, current_setting('synchronous_commit')
		FROM pg_roles WHERE rolname = current_user`).Scan(&role, &unbound, &synchronous)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if unbound {
		return fmt.Errorf("postgres: role %q is a superuser or has BYPASSRLS, so row-level security would not keep orgs apart: "+
			"use a role that owns the database and is neither", role)
	}
	if synchronous == "off" {
		return errors.New("postgres: synchronous_commit is off, so a crash could lose audit records of tokens that were issued: " +
			"set it to on for this role or database")
	}
	return nil
}

// Ping reports whether the server answers.
func (d *database) Ping(ctx context.Context) error { return d.pool.Ping(ctx) }

// Close ends the listeners and the connections; it waits for the calls in flight.
func (d *database) Close() error {
	d.once.Do(func() {
		close(d.done)
		d.pool.Close()
		d.wait.Wait()
	})
	return nil
}

// scope is the setting that opens row-level security for one transaction.
type scope struct{ name, value string }

func orgScope(id delegation.OrgID) scope { return scope{"obo.org", string(id)} }

func wideScope() scope { return scope{"obo.wide", "on"} }

const setScope = "SELECT set_config($1, $2, true)"

// statement is one step of a transaction.
type statement struct {
	sql  string
	args []any
}

// exec runs statements as one transaction in one round trip, and returns how many rows the last one changed. The statements
// are sent with a single Sync, which makes them one transaction without BEGIN; the server's answer to the Sync, which Close
// reads, comes after the commit is on disk.
func (d *database) exec(ctx context.Context, s scope, statements ...statement) (int64, error) {
	results := d.pool.SendBatch(ctx, batch(s, statements...))
	var rows int64
	for range len(statements) + 1 {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close() // it would say the same again
			return 0, err
		}
		rows = tag.RowsAffected()
	}
	return rows, results.Close()
}

// collect runs one query in its scope, in one round trip.
func collect[T any](
	ctx context.Context, d *database, s scope, scan func(pgx.Rows, *T) error, sql string, args ...any,
) ([]T, error) {
	results := d.pool.SendBatch(ctx, batch(s, statement{sql, args}))
	if _, err := results.Exec(); err != nil {
		_ = results.Close()
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	out, err := gather(rows, scan)
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return out, results.Close()
}

func batch(s scope, statements ...statement) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(setScope, s.name, s.value)
	for _, q := range statements {
		b.Queue(q.sql, q.args...)
	}
	return b
}

// gather reads all rows.
func gather[T any](rows pgx.Rows, scan func(pgx.Rows, *T) error) ([]T, error) {
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// update runs f in a transaction that holds an advisory lock from before its first look at the data to its commit.
func (d *database) update(ctx context.Context, s scope, lock int64, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		if err := tx.SendBatch(ctx, batch(s, statement{takeLock, []any{lock}})).Close(); err != nil {
			return err
		}
		return f(tx)
	})
}

// The advisory locks. They are held to the end of the transaction, and each database has its own.
const (
	lockMigrations    = 0x6f626f00
	lockChanges       = 0x6f626f01
	lockAudit         = 0x6f626f02
	lockExecutorAudit = 0x6f626f03
	lockProviders     = 0x6f626f04
	lockDirectory     = 0x6f626f05
)

const takeLock = "SELECT pg_advisory_xact_lock($1)"

// cursor keeps a number that no sequence reaches from turning negative, which would mean: from the start.
func cursor(after uint64) int64 { return int64(min(after, math.MaxInt64)) }

// page is the limit of a query.
func page(limit int) int { return min(max(limit, 1), store.MaxPage) }

// jsonText reads a column that holds JSON.
type jsonText struct{ v any }

// Scan implements sql.Scanner.
func (j jsonText) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("postgres: JSON is stored as %T", v)
	}
	return json.Unmarshal([]byte(text), j.v)
}

// bytes keeps an empty value apart from NULL, which no column takes.
func bytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// own refuses a record of another org: a caller that mixes two tenants up must not write into either.
func own(handle, record delegation.OrgID) error {
	if record != "" && record != handle {
		return fmt.Errorf("postgres: a record of org %q was given to the handle of org %q", record, handle)
	}
	return nil
}
