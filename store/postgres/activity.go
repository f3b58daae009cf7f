package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/store"
)

// PutActivity says when agents of the org last acted, by name. An earlier time than the one before changes nothing. It is no
// change that followers hear of.
func (o *STSOrg) PutActivity(ctx context.Context, last map[string]time.Time) error {
	names := slices.Sorted(maps.Keys(last)) // in one order, so that two replicas do not wait for each other
	statements := make([]statement, len(names))
	for i, name := range names {
		statements[i] = statement{`INSERT INTO activity VALUES ($1, $2, $3) ON CONFLICT (org, agent)
			DO UPDATE SET last = greatest(activity.last, excluded.last)`, []any{string(o.id), name, last[name]}}
	}
	if _, err := o.s.exec(ctx, orgScope(o.id), statements...); err != nil {
		return fmt.Errorf("postgres: put activity of %s: %w", o.id, err)
	}
	return nil
}

// Activity lists when agents of the org last acted, by name.
func (o *STSOrg) Activity(ctx context.Context) ([]store.Activity, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), func(rows pgx.Rows, a *store.Activity) error {
		return rows.Scan(&a.Agent, &a.Last)
	}, "SELECT agent, last FROM activity WHERE org = $1 ORDER BY agent", string(o.id))
	if err != nil {
		return nil, fmt.Errorf("postgres: activity of %s: %w", o.id, err)
	}
	return out, nil
}
