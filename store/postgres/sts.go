package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// STS is the token server's store: configuration, signing keys, revocations, single-use assertions and the audit trail.
// Its methods may be called from many goroutines, and many replicas may share one database.
type STS struct {
	*database
	trail
}

// OpenSTS connects to the token server's database and brings its tables up to date. dsn is a URL or a keyword/value string
// (PostgreSQL manual, 34.1.1), with pgxpool's pool_* settings besides. The package comment says which roles are refused.
func OpenSTS(ctx context.Context, dsn string) (*STS, error) {
	migrations, err := fs.Sub(stsMigrations, "migrations/sts")
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, dsn, migrations)
	if err != nil {
		return nil, err
	}
	return &STS{database: d, trail: trail{db: d, lock: lockAudit}}, nil
}

// Org returns the only way to the data of one org. store.PlatformOrg is a valid id.
func (s *STS) Org(id delegation.OrgID) *STSOrg { return &STSOrg{s: s, id: id} }

// Orgs lists every org that has a configuration, without store.PlatformOrg.
func (s *STS) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	orgs, err := collect(ctx, s.database, wideScope(), scanOrg,
		"SELECT DISTINCT org FROM configs WHERE org <> $1 ORDER BY org", string(store.PlatformOrg))
	if err != nil {
		return nil, fmt.Errorf("postgres: orgs: %w", err)
	}
	return orgs, nil
}

// OrgsPage lists by id the orgs after one that have a configuration, without store.PlatformOrg, at most limit.
func (s *STS) OrgsPage(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error) {
	orgs, err := collect(ctx, s.database, wideScope(), scanOrg,
		"SELECT DISTINCT org FROM configs WHERE org > $1 AND org <> $2 ORDER BY org LIMIT $3",
		string(after), string(store.PlatformOrg), page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: orgs: %w", err)
	}
	return orgs, nil
}

func scanOrg(rows pgx.Rows, id *delegation.OrgID) error { return rows.Scan(id) }

// Changes lists the changes after a sequence number, oldest first, at most limit. A change whose revocation was purged is
// gone with it.
func (s *STS) Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	changes, err := collect(ctx, s.database, wideScope(), func(rows pgx.Rows, c *store.Change) error {
		var mark int64
		err := rows.Scan(&c.Sequence, &c.Org, &c.Kind, &mark)
		c.Mark = uint64(mark)
		return err
	}, "SELECT sequence, org, kind, mark FROM changes WHERE sequence > $1 ORDER BY sequence LIMIT $2", cursor(after), page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: changes: %w", err)
	}
	return changes, nil
}

// Head is the newest sequence number ever given, 0 before the first. It never goes back.
func (s *STS) Head(ctx context.Context) (uint64, error) {
	var head uint64
	if err := s.pool.QueryRow(ctx, "SELECT sequence FROM head").Scan(&head); err != nil {
		return 0, fmt.Errorf("postgres: head: %w", err)
	}
	return head, nil
}

const revocationColumns = "SELECT sequence, org, kind, id, scope, since, before, until, departed, reason FROM revocations WHERE "

func scanRevocation(rows pgx.Rows, r *store.Revocation) error {
	return rows.Scan(&r.Sequence, &r.Org, &r.Kind, &r.ID, &r.Scope, &r.Since, &r.Before, &r.Until, &r.Departed, &r.Reason)
}

// Revocations lists the entries of all orgs after a sequence number that are still live at now, oldest first, at most limit.
func (s *STS) Revocations(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	out, err := collect(ctx, s.database, wideScope(), scanRevocation,
		revocationColumns+"sequence > $1 AND until >= $2 ORDER BY sequence LIMIT $3", cursor(after), now, page(limit))
	if err != nil {
		return nil, fmt.Errorf("postgres: revocations: %w", err)
	}
	return out, nil
}

// SigningKeys returns the whole set in the order in which it was put, and its generation, 0 before the first.
func (s *STS) SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error) {
	// One statement, so that both come from one snapshot.
	type row struct {
		key        store.SigningKey
		kid        *string // NULL when there are no keys
		algorithm  *string
		times      [4]*time.Time
		generation int64
	}
	rows, err := collect(ctx, s.database, wideScope(), func(rows pgx.Rows, r *row) error {
		return rows.Scan(&r.generation, &r.kid, &r.algorithm, &r.key.Sealed, &r.key.Public,
			&r.times[0], &r.times[1], &r.times[2], &r.times[3])
	}, `SELECT generation, kid, algorithm, sealed, public, published, activate, deactivate, remove
		FROM signing_generation LEFT JOIN signing_keys ON true ORDER BY position`)
	if err != nil {
		return nil, 0, fmt.Errorf("postgres: signing keys: %w", err)
	}
	for _, r := range rows {
		generation = r.generation
		if r.kid == nil {
			continue
		}
		k := r.key
		k.KID, k.Algorithm = *r.kid, *r.algorithm
		k.Published, k.Activate, k.Deactivate, k.Remove = *r.times[0], *r.times[1], *r.times[2], *r.times[3]
		keys = append(keys, k)
	}
	return keys, generation, nil
}

// PutSigningKeys replaces the whole set if generation is the current one, and raises the generation by one. Otherwise it
// answers store.ErrConflict. It writes a change of kind keys.
func (s *STS) PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error {
	err := s.update(ctx, wideScope(), lockChanges, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE signing_generation SET generation = generation + 1 WHERE generation = $1", generation)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return store.ErrConflict
		}
		if _, err := tx.Exec(ctx, "DELETE FROM signing_keys"); err != nil {
			return err
		}
		for i, k := range keys {
			tag, err := tx.Exec(ctx, "INSERT INTO signing_keys VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
				i, k.KID, k.Algorithm, bytes(k.Sealed), bytes(k.Public), k.Published, k.Activate, k.Deactivate, k.Remove)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return store.ErrConflict // the same kid twice
			}
		}
		_, err = change(ctx, tx, store.PlatformOrg, store.ChangeKeys)
		return err
	})
	if err != nil {
		return fmt.Errorf("postgres: put signing keys: %w", err)
	}
	return nil
}

// PurgeExpired forgets used assertions and revocations whose until is before now: no token that they concern is alive.
func (s *STS) PurgeExpired(ctx context.Context, now time.Time) error {
	_, err := s.exec(ctx, wideScope(), statement{purgeConsumed, []any{now}},
		statement{`WITH dead AS (DELETE FROM revocations WHERE until < $1 RETURNING sequence)
			DELETE FROM changes WHERE sequence IN (SELECT sequence FROM dead)`, []any{now}})
	if err != nil {
		return fmt.Errorf("postgres: purge expired: %w", err)
	}
	return nil
}

// change gives out the next sequence number and tells the followers. The caller holds lockChanges, and the number's own row
// stays locked to the commit: numbers become visible in the order in which they are given. (Of two transactions that took 7
// and 8 from a sequence, the one with 8 may commit first; a reader that has seen 8 would never be handed 7.)
func change(ctx context.Context, tx pgx.Tx, org delegation.OrgID, kind store.ChangeKind) (uint64, error) {
	var sequence uint64
	err := tx.QueryRow(ctx, `WITH next AS (UPDATE head SET sequence = sequence + 1 RETURNING sequence),
			told AS (SELECT pg_notify($3, ''))
		INSERT INTO changes (sequence, org, kind, mark) SELECT sequence, $1, $2, $4 FROM next, told RETURNING sequence`,
		string(org), string(kind), channel, rand.Int64()).Scan(&sequence)
	return sequence, err
}
