package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/onbehalf/obo/store"
)

// Theme returns how the org's pages look, or store.ErrNotFound.
func (o *ExecutorOrg) Theme(ctx context.Context) (store.Theme, error) {
	rows, err := o.e.read.QueryContext(ctx, "SELECT name, accent, version, updated FROM themes WHERE org = ?", string(o.id))
	found, err := collect(rows, err, func(rows *sql.Rows, t *store.Theme) error {
		return rows.Scan(&t.Name, &t.Accent, &t.Version, instant{&t.Updated})
	})
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Theme{}, fmt.Errorf("sqlite: theme of %s: %w", o.id, err)
	}
	return found[0], nil
}

// PutTheme stores a theme whose version must be the stored one plus 1 (1 for a new one); otherwise store.ErrConflict.
func (o *ExecutorOrg) PutTheme(ctx context.Context, t store.Theme) error {
	query := "UPDATE themes SET name = ?2, accent = ?3, version = ?4, updated = ?5 WHERE org = ?1 AND version = ?4 - 1"
	if t.Version == 1 {
		query = "INSERT INTO themes VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING"
	}
	return o.one(ctx, "put theme", store.ErrConflict, query, string(o.id), t.Name, t.Accent, t.Version, t.Updated.UnixMicro())
}
