package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/store"
)

// PutReplica replaces what a replica says of itself, and forgets the replicas that were last seen before forget.
func (s *STS) PutReplica(ctx context.Context, r store.Replica, forget time.Time) error {
	_, err := s.exec(ctx, wideScope(),
		statement{`INSERT INTO replicas (id, since, seen, document) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET since = excluded.since, seen = excluded.seen, document = excluded.document`,
			[]any{r.ID, r.Since, r.Seen, bytes(r.Document)}},
		statement{"DELETE FROM replicas WHERE seen < $1", []any{forget}})
	if err != nil {
		return fmt.Errorf("postgres: put replica: %w", err)
	}
	return nil
}

// Replicas lists the replicas in the order of their start.
func (s *STS) Replicas(ctx context.Context) ([]store.Replica, error) {
	out, err := collect(ctx, s.database, wideScope(), func(rows pgx.Rows, r *store.Replica) error {
		return rows.Scan(&r.ID, &r.Since, &r.Seen, &r.Document)
	}, "SELECT id, since, seen, document FROM replicas ORDER BY since, id")
	if err != nil {
		return nil, fmt.Errorf("postgres: replicas: %w", err)
	}
	return out, nil
}

// DeleteReplica forgets a replica that ends. One that is not there is no error.
func (s *STS) DeleteReplica(ctx context.Context, id string) error {
	if _, err := s.exec(ctx, wideScope(), statement{"DELETE FROM replicas WHERE id = $1", []any{id}}); err != nil {
		return fmt.Errorf("postgres: delete replica: %w", err)
	}
	return nil
}
