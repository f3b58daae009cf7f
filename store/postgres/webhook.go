package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

const webhookColumns = "url, version, sealed, created, updated, delivered, failures, since, next, failure, paused, fence, until"

func scanWebhook(rows pgx.Rows, w *store.Webhook) error {
	return rows.Scan(&w.URL, &w.Version, &w.Sealed, &w.Created, &w.Updated, &w.Delivered, &w.Failures, &w.Since, &w.Next, &w.Failure,
		&w.Paused, &w.Fence, &w.Until)
}

// Webhook returns the org's webhook, or store.ErrNotFound.
func (o *ExecutorOrg) Webhook(ctx context.Context) (store.Webhook, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), scanWebhook, "SELECT "+webhookColumns+" FROM webhooks WHERE org = $1", string(o.id))
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Webhook{}, fmt.Errorf("postgres: webhook of %s: %w", o.id, err)
	}
	return found[0], nil
}

// PutWebhook stores the URL and the secret of a webhook whose version must be the stored one plus 1 (1 for a new one); otherwise
// store.ErrConflict. A new one begins after the newest event, another version where the one before was, without its failures, and
// whoever delivered for that one does no more.
func (o *ExecutorOrg) PutWebhook(ctx context.Context, w store.Webhook) error {
	query := `UPDATE webhooks SET url = $2, version = $3, sealed = $4, created = $5, updated = $6, failures = 0, since = $7, next = $7,
		failure = '', paused = false, fence = fence + 1, until = $7 WHERE org = $1 AND version = $3 - 1`
	if w.Version == 1 {
		query = `INSERT INTO webhooks VALUES ($1, $2, $3, $4, $5, $6, coalesce((SELECT head FROM connection_heads WHERE org = $1), 0),
			0, $7, $7, '', false, 0, $7) ON CONFLICT DO NOTHING`
	}
	return o.one(ctx, "put webhook", store.ErrConflict, query,
		string(o.id), w.URL, w.Version, bytes(w.Sealed), w.Created, w.Updated, time.Time{})
}

// ResealWebhook replaces the sealed bytes of the webhook; store.ErrConflict unless they are the old ones. Its version stays:
// whoever delivers does not notice.
func (o *ExecutorOrg) ResealWebhook(ctx context.Context, old, sealed []byte) error {
	return o.one(ctx, "reseal webhook", store.ErrConflict, "UPDATE webhooks SET sealed = $3 WHERE org = $1 AND sealed = $2",
		string(o.id), old, sealed)
}

// DeleteWebhook forgets the webhook and its sealed secret; store.ErrNotFound if there is none of that version.
func (o *ExecutorOrg) DeleteWebhook(ctx context.Context, version int64) error {
	return o.one(ctx, "delete webhook", store.ErrNotFound, "DELETE FROM webhooks WHERE org = $1 AND version = $2", string(o.id), version)
}

// AcquireWebhook takes the right to deliver until a time; store.ErrConflict while another has it, or there is nothing to be
// tried.
func (o *ExecutorOrg) AcquireWebhook(ctx context.Context, now, until time.Time) (store.Webhook, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), scanWebhook, `UPDATE webhooks SET fence = fence + 1, until = $3
		WHERE org = $1 AND until <= $2 AND next <= $2 AND NOT paused RETURNING `+webhookColumns, string(o.id), now, until)
	if err == nil && len(found) == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return store.Webhook{}, fmt.Errorf("postgres: acquire webhook of %s: %w", o.id, err)
	}
	return found[0], nil
}

// PutDelivery notes how far the delivery has come, and until when its holder goes on; store.ErrConflict when another has taken
// over, or the webhook was put again.
func (o *ExecutorOrg) PutDelivery(ctx context.Context, w store.Webhook) error {
	return o.one(ctx, "put delivery", store.ErrConflict, `UPDATE webhooks SET delivered = $4, failures = $5, since = $6, next = $7,
		failure = $8, paused = $9, until = $10 WHERE org = $1 AND version = $2 AND fence = $3`, string(o.id), w.Version, w.Fence,
		cursor(w.Delivered), w.Failures, w.Since, w.Next, w.Failure, w.Paused, w.Until)
}

// ConnectionHead is the number of the org's newest event, kept or not; 0 when there was none.
func (o *ExecutorOrg) ConnectionHead(ctx context.Context) (uint64, error) {
	found, err := collect(ctx, o.e.database, orgScope(o.id), func(rows pgx.Rows, n *uint64) error { return rows.Scan(n) },
		"SELECT head FROM connection_heads WHERE org = $1", string(o.id))
	if err != nil {
		return 0, fmt.Errorf("postgres: connection head of %s: %w", o.id, err)
	}
	if len(found) == 0 {
		return 0, nil
	}
	return found[0], nil
}

// DueWebhooks lists the orgs whose webhook nobody delivers for, and which have an event that is to be delivered now: those that
// were due first, at most limit.
func (e *Executor) DueWebhooks(ctx context.Context, now time.Time, limit int) ([]delegation.OrgID, error) {
	orgs, err := collect(ctx, e.database, wideScope(), scanOrg, `SELECT w.org FROM webhooks w JOIN connection_heads h ON h.org = w.org
		WHERE NOT paused AND next <= $1 AND until <= $1 AND delivered < head ORDER BY next, w.org LIMIT $2`, now, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: due webhooks: %w", err)
	}
	return orgs, nil
}
