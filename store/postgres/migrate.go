package postgres

import (
	"context"
	"database/sql"
	"io/fs"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrate is forward only. Replicas that start together take turns.
func (d *database) migrate(ctx context.Context, migrations fs.FS) error {
	db := stdlib.OpenDBFromPool(d.pool)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations,
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(turn{}))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// turn waits in PostgreSQL's own queue for the lock. The locker that comes with goose asks again every few seconds, so the
// last of four replicas would start a quarter of a minute late.
type turn struct{}

// SessionLock waits until no other replica migrates.
func (turn) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(lockMigrations))
	return err
}

// SessionUnlock lets the next replica migrate.
func (turn) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(lockMigrations))
	return err
}
