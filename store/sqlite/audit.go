package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// trail is the append-only audit table, which both databases have.
type trail struct {
	db     *database
	insert *sql.Stmt
}

func newTrail(ctx context.Context, d *database) (trail, error) {
	s, err := d.conn.PrepareContext(ctx,
		"INSERT INTO audit (org, action_id, transaction_id, time, body) VALUES (?, ?, ?, ?, ?)")
	return trail{db: d, insert: s}, err
}

// AppendAudit writes the records in one transaction, all or none, in the given order. Sequence is given by the store and
// ignored in the arguments.
func (t *trail) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	if len(records) == 0 {
		return ctx.Err()
	}
	err := t.db.update(ctx, func(ctx context.Context, _ *sql.Conn) error {
		for _, r := range records {
			_, err := t.insert.ExecContext(ctx, string(r.Org), r.ActionID, r.Transaction, r.Time.UnixMicro(), blob(r.Body))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqlite: append audit: %w", err)
	}
	return nil
}

func (t *trail) records(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
	limit := min(max(q.Limit, 1), store.MaxPage)
	const columns = "SELECT sequence, org, action_id, transaction_id, time, body FROM audit WHERE "
	query, args := columns+"org = ? AND sequence > ? ORDER BY sequence LIMIT ?", []any{string(org), cursor(q.After), limit}
	if q.Action != "" {
		transactions, err := json.Marshal(q.Transactions())
		if err != nil {
			return nil, fmt.Errorf("sqlite: audit records: %w", err)
		}
		query = columns + `sequence IN (
			SELECT sequence FROM audit INDEXED BY audit_transaction
				WHERE org = ?1 AND transaction_id IN (SELECT value FROM json_each(?5)) AND (transaction_id = ?2 OR action_id = ?2)
			UNION SELECT sequence FROM audit INDEXED BY audit_action WHERE org = ?1 AND action_id = ?2
				AND substr(action_id, 1, length(transaction_id) + 1) <> transaction_id || '.'
		) AND sequence > ?3 ORDER BY sequence LIMIT ?4`
		args = []any{string(org), q.Action, cursor(q.After), limit, string(transactions)}
	}
	rows, err := t.db.read.QueryContext(ctx, query, args...)
	out, err := collect(rows, err, func(rows *sql.Rows, r *store.AuditRecord) error {
		return rows.Scan(&r.Sequence, &r.Org, &r.ActionID, &r.Transaction, instant{&r.Time}, &r.Body)
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: audit records: %w", err)
	}
	return out, nil
}
