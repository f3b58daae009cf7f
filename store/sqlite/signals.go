package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/onbehalf/obo/store"
)

// PutSignalCredential replaces the credential of a stream, or forgets it when Sealed is empty. It writes a change of kind config.
func (o *STSOrg) PutSignalCredential(ctx context.Context, c store.SignalCredential) error {
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "DELETE FROM signal_credentials WHERE org = ? AND stream = ?", string(o.id), c.Stream)
		if err == nil && len(c.Sealed) > 0 {
			_, err = conn.ExecContext(ctx, "INSERT INTO signal_credentials VALUES (?, ?, ?, ?, ?)",
				string(o.id), c.Stream, c.Endpoint, c.Sealed, c.Created.UnixMicro())
		}
		if err != nil {
			return err
		}
		_, err = change(ctx, conn, o.id, store.ChangeConfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: put signal credential of %s: %w", o.id, err)
	}
	o.s.hints.send()
	return nil
}

// SignalCredentials lists the credentials of the org's streams, by stream.
func (o *STSOrg) SignalCredentials(ctx context.Context) ([]store.SignalCredential, error) {
	rows, err := o.s.read.QueryContext(ctx,
		"SELECT stream, endpoint, sealed, created FROM signal_credentials WHERE org = ? ORDER BY stream", string(o.id))
	out, err := collect(rows, err, func(rows *sql.Rows, c *store.SignalCredential) error {
		return rows.Scan(&c.Stream, &c.Endpoint, &c.Sealed, instant{&c.Created})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: signal credentials of %s: %w", o.id, err)
	}
	return out, nil
}

// ResealSignalCredential replaces the sealed bytes of a stream's credential; store.ErrConflict unless they are the old ones. It is no
// change that followers hear of: what is sealed is the same.
func (o *STSOrg) ResealSignalCredential(ctx context.Context, stream string, old, sealed []byte) error {
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		return swapped(conn.ExecContext(ctx, "UPDATE signal_credentials SET sealed = ? WHERE org = ? AND stream = ? AND sealed = ?",
			sealed, string(o.id), stream, old))
	})
	if err != nil {
		return fmt.Errorf("sqlite: reseal signal credential of %s: %w", o.id, err)
	}
	return nil
}

// PutSignalPoll says that p.Holder polls the stream. It is store.ErrConflict while another does, until its time is before now.
// Times of success and failure never go back. It is no change that followers hear of.
func (o *STSOrg) PutSignalPoll(ctx context.Context, p store.SignalPoll, now time.Time) error {
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx, `INSERT INTO signal_polls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
			ON CONFLICT (org, stream) DO UPDATE SET holder = excluded.holder, until = excluded.until,
				succeeded = max(succeeded, excluded.succeeded), failed = max(failed, excluded.failed),
				failure = CASE WHEN excluded.failed > failed THEN excluded.failure ELSE failure END
			WHERE holder = excluded.holder OR until < ?8`,
			string(o.id), p.Stream, p.Holder, p.Until.UnixMicro(), p.Succeeded.UnixMicro(), p.Failed.UnixMicro(), p.Failure,
			now.UnixMicro()))
		if err == nil && !ok {
			err = store.ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: put signal poll of %s: %w", o.id, err)
	}
	return nil
}

// SignalPolls lists who polls the org's streams, by stream.
func (o *STSOrg) SignalPolls(ctx context.Context) ([]store.SignalPoll, error) {
	rows, err := o.s.read.QueryContext(ctx,
		"SELECT stream, holder, until, succeeded, failed, failure FROM signal_polls WHERE org = ? ORDER BY stream", string(o.id))
	out, err := collect(rows, err, func(rows *sql.Rows, p *store.SignalPoll) error {
		return rows.Scan(&p.Stream, &p.Holder, instant{&p.Until}, instant{&p.Succeeded}, instant{&p.Failed}, &p.Failure)
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: signal polls of %s: %w", o.id, err)
	}
	return out, nil
}
