package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/onbehalf/obo/store"
)

// PutActivity says when agents of the org last acted, by name. An earlier time than the one before changes nothing. It is no
// change that followers hear of.
func (o *STSOrg) PutActivity(ctx context.Context, last map[string]time.Time) error {
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		for name, at := range last {
			if _, err := conn.ExecContext(ctx, `INSERT INTO activity VALUES (?, ?, ?) ON CONFLICT (org, agent)
				DO UPDATE SET last = max(last, excluded.last)`, string(o.id), name, at.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqlite: put activity of %s: %w", o.id, err)
	}
	return nil
}

// Activity lists when agents of the org last acted, by name.
func (o *STSOrg) Activity(ctx context.Context) ([]store.Activity, error) {
	rows, err := o.s.read.QueryContext(ctx, "SELECT agent, last FROM activity WHERE org = ? ORDER BY agent", string(o.id))
	out, err := collect(rows, err, func(rows *sql.Rows, a *store.Activity) error { return rows.Scan(&a.Agent, instant{&a.Last}) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: activity of %s: %w", o.id, err)
	}
	return out, nil
}
