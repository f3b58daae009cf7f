package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// purgeConsumed forgets used keys. Both databases have the table.
const purgeConsumed = "DELETE FROM consumed WHERE until < $1"

// consume marks a key of an org as used, or answers store.ErrConflict.
func consume(ctx context.Context, d *database, org delegation.OrgID, key [32]byte, until time.Time) error {
	rows, err := d.exec(ctx, orgScope(org), statement{
		"INSERT INTO consumed (org, key, until) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", []any{string(org), key[:], until}})
	if err == nil && rows == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("postgres: consume in %s: %w", org, err)
	}
	return nil
}
