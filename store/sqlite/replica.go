package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/onbehalf/obo/store"
)

// PutReplica replaces what a replica says of itself, and forgets the replicas that were last seen before forget.
func (s *STS) PutReplica(ctx context.Context, r store.Replica, forget time.Time) error {
	err := s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `INSERT INTO replicas (id, since, seen, document) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET since = excluded.since, seen = excluded.seen, document = excluded.document`,
			r.ID, r.Since.UnixMicro(), r.Seen.UnixMicro(), blob(r.Document))
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, "DELETE FROM replicas WHERE seen < ?", forget.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: put replica: %w", err)
	}
	return nil
}

// Replicas lists the replicas in the order of their start.
func (s *STS) Replicas(ctx context.Context) ([]store.Replica, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, since, seen, document FROM replicas ORDER BY since, id")
	out, err := collect(rows, err, func(rows *sql.Rows, r *store.Replica) error {
		return rows.Scan(&r.ID, instant{&r.Since}, instant{&r.Seen}, &r.Document)
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: replicas: %w", err)
	}
	return out, nil
}

// DeleteReplica forgets a replica that ends. One that is not there is no error.
func (s *STS) DeleteReplica(ctx context.Context, id string) error {
	err := s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "DELETE FROM replicas WHERE id = ?", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: delete replica: %w", err)
	}
	return nil
}
