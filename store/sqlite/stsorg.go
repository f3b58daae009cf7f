package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// STSOrg is one org's part of the token server's store. It is cheap to make and holds no state.
type STSOrg struct {
	s  *STS
	id delegation.OrgID
}

// Config returns the newest version of the org's configuration, or store.ErrNotFound.
func (o *STSOrg) Config(ctx context.Context) (store.OrgConfig, error) {
	var c store.OrgConfig
	err := o.s.config.QueryRowContext(ctx, string(o.id)).Scan(&c.Org, &c.Version, &c.Document, instant{&c.Created})
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.OrgConfig{}, fmt.Errorf("sqlite: config of %s: %w", o.id, err)
	}
	return c, nil
}

// PutConfig stores a new version, which must be the current one plus 1 (1 for the first); otherwise store.ErrConflict.
// Older versions are kept. It writes a change of kind config.
func (o *STSOrg) PutConfig(ctx context.Context, c store.OrgConfig) error {
	if err := own(o.id, c.Org); err != nil {
		return err
	}
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx, `INSERT INTO configs (org, version, document, created) SELECT ?1, ?2, ?3, ?4
			WHERE ?2 = (SELECT coalesce(max(version), 0) + 1 FROM configs WHERE org = ?1)`,
			string(o.id), c.Version, blob(c.Document), c.Created.UnixMicro()))
		if err != nil {
			return err
		}
		if !ok {
			return store.ErrConflict
		}
		_, err = change(ctx, conn, o.id, store.ChangeConfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: put config of %s: %w", o.id, err)
	}
	o.s.hints.send()
	return nil
}

// ClientSecrets lists the secrets of all agents of the org, by agent, the newest of each first.
func (o *STSOrg) ClientSecrets(ctx context.Context) ([]store.ClientSecret, error) {
	rows, err := o.s.secrets.QueryContext(ctx, string(o.id))
	out, err := collect(rows, err, func(rows *sql.Rows, s *store.ClientSecret) error {
		var hash []byte
		if err := rows.Scan(&s.Agent, &hash, instant{&s.Created}); err != nil {
			return err
		}
		s.Hash = [32]byte(hash) // the table admits no other length
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: client secrets of %s: %w", o.id, err)
	}
	return out, nil
}

// PutClientSecret adds a secret to its agent and forgets all but the newest keep (at least 1) of that agent. The same hash
// twice is store.ErrConflict. It writes a change of kind config.
func (o *STSOrg) PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error {
	if keep < 1 {
		return fmt.Errorf("sqlite: put client secret: keep is %d, must be at least 1", keep)
	}
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx,
			"INSERT INTO client_secrets (org, agent, hash, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			string(o.id), s.Agent, s.Hash[:], s.Created.UnixMicro()))
		if err != nil {
			return err
		}
		if !ok {
			return store.ErrConflict
		}
		_, err = conn.ExecContext(ctx, `DELETE FROM client_secrets WHERE org = ?1 AND agent = ?2 AND sequence NOT IN (
			SELECT sequence FROM client_secrets WHERE org = ?1 AND agent = ?2 ORDER BY sequence DESC LIMIT ?3)`,
			string(o.id), s.Agent, keep)
		if err != nil {
			return err
		}
		_, err = change(ctx, conn, o.id, store.ChangeConfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: put client secret of %s: %w", o.id, err)
	}
	o.s.hints.send()
	return nil
}

// Consume marks a key as used. For one key of one org it succeeds once, whoever asks, until PurgeExpired forgets it after
// until; otherwise store.ErrConflict.
func (o *STSOrg) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return consume(ctx, o.s.database, o.s.consume, o.id, key, until)
}

// Revoke adds an entry and returns its sequence number, which is also that of its change.
func (o *STSOrg) Revoke(ctx context.Context, r store.Revocation) (uint64, error) {
	if err := own(o.id, r.Org); err != nil {
		return 0, err
	}
	var sequence uint64
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) (err error) {
		sequence, err = revoke(ctx, conn, o.id, r)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: revoke in %s: %w", o.id, err)
	}
	o.s.hints.send()
	return sequence, nil
}

func revoke(ctx context.Context, conn *sql.Conn, org delegation.OrgID, r store.Revocation) (uint64, error) {
	sequence, err := change(ctx, conn, org, store.ChangeRevocation)
	if err != nil {
		return 0, err
	}
	_, err = conn.ExecContext(ctx, `INSERT INTO revocations (sequence, org, kind, id, scope, since, before, until, departed, reason)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(sequence), string(org), r.Kind, r.ID, r.Scope, r.Since.UnixMicro(), r.Before.UnixMicro(), r.Until.UnixMicro(),
		r.Departed, r.Reason)
	return sequence, err
}

// Revocations lists the org's entries that are still live at now, oldest first.
func (o *STSOrg) Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error) {
	rows, err := o.s.read.QueryContext(ctx, revocationColumns+"org = ? AND until >= ? ORDER BY sequence",
		string(o.id), now.UnixMicro())
	out, err := collect(rows, err, scanRevocation)
	if err != nil {
		return nil, fmt.Errorf("sqlite: revocations of %s: %w", o.id, err)
	}
	return out, nil
}

// RevocationsPage lists the org's entries after a sequence number that are still live at now, oldest first, at most limit.
func (o *STSOrg) RevocationsPage(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	rows, err := o.s.read.QueryContext(ctx, revocationColumns+"org = ? AND sequence > ? AND until >= ? ORDER BY sequence LIMIT ?",
		string(o.id), cursor(after), now.UnixMicro(), min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, scanRevocation)
	if err != nil {
		return nil, fmt.Errorf("sqlite: revocations of %s: %w", o.id, err)
	}
	return out, nil
}

// AuditRecords lists the org's records that q chooses, oldest first.
func (o *STSOrg) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return o.s.records(ctx, o.id, q)
}

// own refuses a record of another org: a caller that mixes two tenants up must not write into either.
func own(handle, record delegation.OrgID) error {
	if record != "" && record != handle {
		return fmt.Errorf("sqlite: a record of org %q was given to the handle of org %q", record, handle)
	}
	return nil
}
