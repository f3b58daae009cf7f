package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// STS is the token server's store: configuration, signing keys, revocations, single-use assertions and the audit trail.
// Its methods may be called from many goroutines.
type STS struct {
	*database
	trail
	hints hints

	config, secrets, consume *sql.Stmt
}

// OpenSTS opens or creates the token server's database at path. The folder must exist. The file gets mode 0600, and one
// that others may read is refused.
func OpenSTS(ctx context.Context, path string) (*STS, error) {
	migrations, err := fs.Sub(stsMigrations, "migrations/sts")
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, path, migrations)
	if err != nil {
		return nil, err
	}
	s := &STS{database: d}
	if err := s.prepare(ctx); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	return s, nil
}

// prepare compiles the statements of an exchange once; SQLite would compile them again at each use.
func (s *STS) prepare(ctx context.Context) (err error) {
	if s.trail, err = newTrail(ctx, s.database); err != nil {
		return err
	}
	s.config, err = s.read.PrepareContext(ctx,
		"SELECT org, version, document, created FROM configs WHERE org = ? ORDER BY version DESC LIMIT 1")
	if err != nil {
		return err
	}
	s.secrets, err = s.read.PrepareContext(ctx,
		"SELECT agent, hash, created FROM client_secrets WHERE org = ? ORDER BY agent, sequence DESC")
	if err != nil {
		return err
	}
	s.consume, err = prepareConsume(ctx, s.database)
	return err
}

// Org returns the only way to the data of one org. store.PlatformOrg is a valid id.
func (s *STS) Org(id delegation.OrgID) *STSOrg { return &STSOrg{s: s, id: id} }

// Orgs lists every org that has a configuration, without store.PlatformOrg.
func (s *STS) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	rows, err := s.read.QueryContext(ctx,
		"SELECT DISTINCT org FROM configs WHERE org <> ? ORDER BY org", string(store.PlatformOrg))
	orgs, err := collect(rows, err, func(rows *sql.Rows, id *delegation.OrgID) error { return rows.Scan(id) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: orgs: %w", err)
	}
	return orgs, nil
}

// OrgsPage lists by id the orgs after one that have a configuration, without store.PlatformOrg, at most limit.
func (s *STS) OrgsPage(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT DISTINCT org FROM configs WHERE org > ? AND org <> ? ORDER BY org LIMIT ?",
		string(after), string(store.PlatformOrg), min(max(limit, 1), store.MaxPage))
	orgs, err := collect(rows, err, func(rows *sql.Rows, id *delegation.OrgID) error { return rows.Scan(id) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: orgs: %w", err)
	}
	return orgs, nil
}

// Changes lists the changes after a sequence number, oldest first, at most limit. A change whose revocation was purged is
// gone with it.
func (s *STS) Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	rows, err := s.read.QueryContext(ctx,
		"SELECT sequence, org, kind, mark FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?",
		cursor(after), min(max(limit, 1), store.MaxPage))
	changes, err := collect(rows, err, func(rows *sql.Rows, c *store.Change) error {
		var mark int64
		err := rows.Scan(&c.Sequence, &c.Org, &c.Kind, &mark)
		c.Mark = uint64(mark)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: changes: %w", err)
	}
	return changes, nil
}

// Head is the newest sequence number ever given, 0 before the first. It never goes back.
func (s *STS) Head(ctx context.Context) (uint64, error) {
	var head uint64
	err := s.read.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'").Scan(&head)
	if err != nil {
		return 0, fmt.Errorf("sqlite: head: %w", err)
	}
	return head, nil
}

// Notifications returns a channel that gets a value soon after this handle commits a change, until ctx ends. Several
// changes may share one value. Changes of other handles and processes are not heard: the caller polls as well. The channel
// is never closed.
func (s *STS) Notifications(ctx context.Context) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.hints.listen(ctx), nil
}

const revocationColumns = "SELECT sequence, org, kind, id, scope, since, before, until, departed, reason FROM revocations WHERE "

func scanRevocation(rows *sql.Rows, r *store.Revocation) error {
	return rows.Scan(&r.Sequence, &r.Org, &r.Kind, &r.ID, &r.Scope, instant{&r.Since}, instant{&r.Before}, instant{&r.Until},
		&r.Departed, &r.Reason)
}

// Revocations lists the entries of all orgs after a sequence number that are still live at now, oldest first, at most limit.
func (s *STS) Revocations(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	rows, err := s.read.QueryContext(ctx, revocationColumns+"sequence > ? AND until >= ? ORDER BY sequence LIMIT ?",
		cursor(after), now.UnixMicro(), min(max(limit, 1), store.MaxPage))
	out, err := collect(rows, err, scanRevocation)
	if err != nil {
		return nil, fmt.Errorf("sqlite: revocations: %w", err)
	}
	return out, nil
}

// SigningKeys returns the whole set in the order in which it was put, and its generation, 0 before the first.
func (s *STS) SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error) {
	tx, err := s.read.BeginTx(ctx, nil) // one snapshot for both reads
	if err != nil {
		return nil, 0, fmt.Errorf("sqlite: signing keys: %w", err)
	}
	defer tx.Rollback()
	err = tx.QueryRowContext(ctx, "SELECT generation FROM signing_generation").Scan(&generation)
	if err != nil {
		return nil, 0, fmt.Errorf("sqlite: signing keys: %w", err)
	}
	rows, err := tx.QueryContext(ctx, `SELECT kid, algorithm, sealed, public, published, activate, deactivate, remove
		FROM signing_keys ORDER BY position`)
	keys, err = collect(rows, err, func(rows *sql.Rows, k *store.SigningKey) error {
		return rows.Scan(&k.KID, &k.Algorithm, &k.Sealed, &k.Public,
			instant{&k.Published}, instant{&k.Activate}, instant{&k.Deactivate}, instant{&k.Remove})
	})
	if err != nil {
		return nil, 0, fmt.Errorf("sqlite: signing keys: %w", err)
	}
	return keys, generation, nil
}

// PutSigningKeys replaces the whole set if generation is the current one, and raises the generation by one. Otherwise it
// answers store.ErrConflict. It writes a change of kind keys.
func (s *STS) PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error {
	err := s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx,
			"UPDATE signing_generation SET generation = generation + 1 WHERE generation = ?", generation))
		if err != nil {
			return err
		}
		if !ok {
			return store.ErrConflict
		}
		if _, err := conn.ExecContext(ctx, "DELETE FROM signing_keys"); err != nil {
			return err
		}
		for i, k := range keys {
			ok, err := changed(conn.ExecContext(ctx,
				"INSERT INTO signing_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
				i, k.KID, k.Algorithm, blob(k.Sealed), blob(k.Public),
				k.Published.UnixMicro(), k.Activate.UnixMicro(), k.Deactivate.UnixMicro(), k.Remove.UnixMicro()))
			if err != nil {
				return err
			}
			if !ok {
				return store.ErrConflict // the same kid twice
			}
		}
		_, err = change(ctx, conn, store.PlatformOrg, store.ChangeKeys)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: put signing keys: %w", err)
	}
	s.hints.send()
	return nil
}

// PurgeExpired forgets used assertions and revocations whose until is before now: no token that they concern is alive.
func (s *STS) PurgeExpired(ctx context.Context, now time.Time) error {
	err := s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, purgeConsumed, now.UnixMicro()); err != nil {
			return err
		}
		rows, err := conn.QueryContext(ctx, "DELETE FROM revocations WHERE until < ? RETURNING sequence", now.UnixMicro())
		dead, err := collect(rows, err, func(rows *sql.Rows, n *int64) error { return rows.Scan(n) })
		if err != nil {
			return err
		}
		for _, n := range dead {
			if _, err := conn.ExecContext(ctx, "DELETE FROM changes WHERE sequence = ?", n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqlite: purge expired: %w", err)
	}
	return nil
}

// change gives out the next sequence number. The write lock is held from the start of the transaction to its commit, so
// numbers become visible in the order in which they are given.
func change(ctx context.Context, conn *sql.Conn, org delegation.OrgID, kind store.ChangeKind) (uint64, error) {
	r, err := conn.ExecContext(ctx, "INSERT INTO changes (org, kind, mark) VALUES (?, ?, random())",
		string(org), string(kind))
	if err != nil {
		return 0, err
	}
	n, err := r.LastInsertId()
	return uint64(n), err
}

// cursor keeps a number that no sequence reaches from turning negative, which would mean: from the start.
func cursor(after uint64) int64 { return int64(min(after, math.MaxInt64)) }
