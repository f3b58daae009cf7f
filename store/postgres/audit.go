package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// trail is the append-only audit table, which both databases have.
type trail struct {
	db   *database
	lock int64
}

// AppendAudit writes the records in one transaction, all or none, in the given order, and in one round trip however many
// they are. Sequence is given by the store and ignored in the arguments.
//
// The lock is taken before the numbers and held to the commit. Without it, of two transactions that took 7 and 8 the one
// with 8 may commit first; a reader that sees 8 then goes on from there and never reads 7.
func (t *trail) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	if len(records) == 0 {
		return ctx.Err()
	}
	orgs, actions := make([]string, len(records)), make([]string, len(records))
	transactions, bodies := make([]string, len(records)), make([][]byte, len(records))
	times := make([]time.Time, len(records))
	for i, r := range records {
		orgs[i], actions[i], transactions[i], times[i], bodies[i] = string(r.Org), r.ActionID, r.Transaction, r.Time, bytes(r.Body)
	}
	_, err := t.db.exec(ctx, wideScope(), statement{takeLock, []any{t.lock}},
		statement{`INSERT INTO audit (org, action_id, transaction_id, time, body)
			SELECT org, action, transaction, time, body
			FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
				WITH ORDINALITY AS r (org, action, transaction, time, body, n)
			ORDER BY n`, []any{orgs, actions, transactions, times, bodies}})
	if err != nil {
		return fmt.Errorf("postgres: append audit: %w", err)
	}
	return nil
}

func (t *trail) records(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
	const columns = "SELECT sequence, org, action_id, transaction_id, time, body FROM audit WHERE "
	query := columns + "org = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"
	args := []any{string(org), cursor(q.After), page(q.Limit)}
	if q.Action != "" {
		// Two look-ups by index: an OR would tempt the planner to walk the whole org.
		query = columns + `org = $1 AND sequence IN (
			SELECT sequence FROM audit WHERE org = $1 AND transaction_id = ANY ($5::text[])
				AND (transaction_id = $4 OR action_id = $4)
			UNION SELECT sequence FROM audit WHERE org = $1 AND action_id = $4
				AND NOT starts_with(action_id, transaction_id || '.')
		) AND sequence > $2 ORDER BY sequence LIMIT $3`
		args = append(args, q.Action, q.Transactions())
	}
	out, err := collect(ctx, t.db, orgScope(org), func(rows pgx.Rows, r *store.AuditRecord) error {
		return rows.Scan(&r.Sequence, &r.Org, &r.ActionID, &r.Transaction, &r.Time, &r.Body)
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("postgres: audit records: %w", err)
	}
	return out, nil
}
