package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

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
	found, err := collect(ctx, o.s.database, orgScope(o.id), func(rows pgx.Rows, c *store.OrgConfig) error {
		return rows.Scan(&c.Org, &c.Version, &c.Document, &c.Created)
	}, "SELECT org, version, document, created FROM configs WHERE org = $1 ORDER BY version DESC LIMIT 1", string(o.id))
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.OrgConfig{}, fmt.Errorf("postgres: config of %s: %w", o.id, err)
	}
	return found[0], nil
}

// PutConfig stores a new version, which must be the current one plus 1 (1 for the first); otherwise store.ErrConflict.
// Older versions are kept. It writes a change of kind config.
func (o *STSOrg) PutConfig(ctx context.Context, c store.OrgConfig) error {
	if err := own(o.id, c.Org); err != nil {
		return err
	}
	err := o.s.update(ctx, orgScope(o.id), lockChanges, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO configs (org, version, document, created) SELECT $1, $2, $3, $4
			WHERE $2 = (SELECT coalesce(max(version), 0) + 1 FROM configs WHERE org = $1)`,
			string(o.id), c.Version, bytes(c.Document), c.Created)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return store.ErrConflict
		}
		_, err = change(ctx, tx, o.id, store.ChangeConfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("postgres: put config of %s: %w", o.id, err)
	}
	return nil
}

// ClientSecrets lists the secrets of all agents of the org, by agent, the newest of each first.
func (o *STSOrg) ClientSecrets(ctx context.Context) ([]store.ClientSecret, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), func(rows pgx.Rows, s *store.ClientSecret) error {
		var hash []byte
		if err := rows.Scan(&s.Agent, &hash, &s.Created); err != nil {
			return err
		}
		s.Hash = [32]byte(hash) // the table admits no other length
		return nil
	}, "SELECT agent, hash, created FROM client_secrets WHERE org = $1 ORDER BY agent, sequence DESC", string(o.id))
	if err != nil {
		return nil, fmt.Errorf("postgres: client secrets of %s: %w", o.id, err)
	}
	return out, nil
}

// PutClientSecret adds a secret to its agent and forgets all but the newest keep (at least 1) of that agent. The same hash
// twice is store.ErrConflict. It writes a change of kind config.
func (o *STSOrg) PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error {
	if keep < 1 {
		return fmt.Errorf("postgres: put client secret: keep is %d, must be at least 1", keep)
	}
	err := o.s.update(ctx, orgScope(o.id), lockChanges, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx,
			"INSERT INTO client_secrets (org, agent, hash, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
			string(o.id), s.Agent, s.Hash[:], s.Created)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return store.ErrConflict
		}
		_, err = tx.Exec(ctx, `DELETE FROM client_secrets WHERE org = $1 AND agent = $2 AND sequence NOT IN (
			SELECT sequence FROM client_secrets WHERE org = $1 AND agent = $2 ORDER BY sequence DESC LIMIT $3)`,
			string(o.id), s.Agent, keep)
		if err != nil {
			return err
		}
		_, err = change(ctx, tx, o.id, store.ChangeConfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("postgres: put client secret of %s: %w", o.id, err)
	}
	return nil
}

// Consume marks a key as used. For one key of one org it succeeds once, whoever asks, until PurgeExpired forgets it after
// until; otherwise store.ErrConflict.
func (o *STSOrg) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return consume(ctx, o.s.database, o.id, key, until)
}

// Revoke adds an entry and returns its sequence number, which is also that of its change.
func (o *STSOrg) Revoke(ctx context.Context, r store.Revocation) (uint64, error) {
	if err := own(o.id, r.Org); err != nil {
		return 0, err
	}
	var sequence uint64
	err := o.s.update(ctx, orgScope(o.id), lockChanges, func(tx pgx.Tx) (err error) {
		sequence, err = revoke(ctx, tx, o.id, r)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("postgres: revoke in %s: %w", o.id, err)
	}
	return sequence, nil
}

func revoke(ctx context.Context, tx pgx.Tx, org delegation.OrgID, r store.Revocation) (uint64, error) {
	sequence, err := change(ctx, tx, org, store.ChangeRevocation)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO revocations (sequence, org, kind, id, scope, since, before, until, departed, reason)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		cursor(sequence), string(org), r.Kind, r.ID, r.Scope, r.Since, r.Before, r.Until, r.Departed, r.Reason)
	return sequence, err
}

// Revocations lists the org's entries that are still live at now, oldest first.
func (o *STSOrg) Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), scanRevocation,
		revocationColumns+"org = $1 AND until >= $2 ORDER BY sequence", string(o.id), now)
	if err != nil {
		return nil, fmt.Errorf("postgres: revocations of %s: %w", o.id, err)
	}
	return out, nil
}

// RevocationsPage lists the org's entries after a sequence number that are still live at now, oldest first, at most limit.
func (o *STSOrg) RevocationsPage(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), scanRevocation,
		revocationColumns+"org = $1 AND sequence > $2 AND until >= $3 ORDER BY sequence LIMIT $4",
		string(o.id), cursor(after), now, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: revocations of %s: %w", o.id, err)
	}
	return out, nil
}

// AuditRecords lists the org's records that q chooses, oldest first.
func (o *STSOrg) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return o.s.records(ctx, o.id, q)
}
