package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/store"
)

// PutSignalCredential replaces the credential of a stream, or forgets it when Sealed is empty. It writes a change of kind config.
func (o *STSOrg) PutSignalCredential(ctx context.Context, c store.SignalCredential) error {
	err := o.s.update(ctx, orgScope(o.id), lockChanges, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM signal_credentials WHERE org = $1 AND stream = $2", string(o.id), c.Stream)
		if err == nil && len(c.Sealed) > 0 {
			_, err = tx.Exec(ctx, "INSERT INTO signal_credentials VALUES ($1, $2, $3, $4, $5)",
				string(o.id), c.Stream, c.Endpoint, c.Sealed, c.Created)
		}
		if err != nil {
			return err
		}
		_, err = change(ctx, tx, o.id, store.ChangeConfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("postgres: put signal credential of %s: %w", o.id, err)
	}
	return nil
}

// SignalCredentials lists the credentials of the org's streams, by stream.
func (o *STSOrg) SignalCredentials(ctx context.Context) ([]store.SignalCredential, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), func(rows pgx.Rows, c *store.SignalCredential) error {
		return rows.Scan(&c.Stream, &c.Endpoint, &c.Sealed, &c.Created)
	}, "SELECT stream, endpoint, sealed, created FROM signal_credentials WHERE org = $1 ORDER BY stream", string(o.id))
	if err != nil {
		return nil, fmt.Errorf("postgres: signal credentials of %s: %w", o.id, err)
	}
	return out, nil
}

// ResealSignalCredential replaces the sealed bytes of a stream's credential; store.ErrConflict unless they are the old ones. It is no
// change that followers hear of: what is sealed is the same.
func (o *STSOrg) ResealSignalCredential(ctx context.Context, stream string, old, sealed []byte) error {
	n, err := o.s.exec(ctx, orgScope(o.id), statement{
		"UPDATE signal_credentials SET sealed = $4 WHERE org = $1 AND stream = $2 AND sealed = $3", []any{string(o.id), stream, old, sealed},
	})
	if err == nil && n == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("postgres: reseal signal credential of %s: %w", o.id, err)
	}
	return nil
}

// PutSignalPoll says that p.Holder polls the stream. It is store.ErrConflict while another does, until its time is before now.
// Times of success and failure never go back. It is no change that followers hear of.
func (o *STSOrg) PutSignalPoll(ctx context.Context, p store.SignalPoll, now time.Time) error {
	rows, err := o.s.exec(ctx, orgScope(o.id), statement{`INSERT INTO signal_polls AS was VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (org, stream) DO UPDATE SET holder = excluded.holder, until = excluded.until,
			succeeded = greatest(was.succeeded, excluded.succeeded), failed = greatest(was.failed, excluded.failed),
			failure = CASE WHEN excluded.failed > was.failed THEN excluded.failure ELSE was.failure END
		WHERE was.holder = excluded.holder OR was.until < $8`,
		[]any{string(o.id), p.Stream, p.Holder, p.Until, p.Succeeded, p.Failed, p.Failure, now}})
	if err == nil && rows == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("postgres: put signal poll of %s: %w", o.id, err)
	}
	return nil
}

// SignalPolls lists who polls the org's streams, by stream.
func (o *STSOrg) SignalPolls(ctx context.Context) ([]store.SignalPoll, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), func(rows pgx.Rows, p *store.SignalPoll) error {
		return rows.Scan(&p.Stream, &p.Holder, &p.Until, &p.Succeeded, &p.Failed, &p.Failure)
	}, "SELECT stream, holder, until, succeeded, failed, failure FROM signal_polls WHERE org = $1 ORDER BY stream", string(o.id))
	if err != nil {
		return nil, fmt.Errorf("postgres: signal polls of %s: %w", o.id, err)
	}
	return out, nil
}
