package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

const purgeConsumed = "DELETE FROM consumed WHERE until < ?"

// prepareConsume compiles the statement that uses a key up. Both databases have the table.
func prepareConsume(ctx context.Context, d *database) (*sql.Stmt, error) {
	return d.conn.PrepareContext(ctx, "INSERT INTO consumed (org, key, until) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
}

// consume marks a key of an org as used, or answers store.ErrConflict.
func consume(ctx context.Context, d *database, s *sql.Stmt, org delegation.OrgID, key [32]byte, until time.Time) error {
	err := d.update(ctx, func(ctx context.Context, _ *sql.Conn) error {
		ok, err := changed(s.ExecContext(ctx, string(org), key[:], until.UnixMicro()))
		if err == nil && !ok {
			err = store.ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: consume in %s: %w", org, err)
	}
	return nil
}
