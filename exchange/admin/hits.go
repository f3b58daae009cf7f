package admin

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// MaxHits is how many tokens of a revocation are listed.
const MaxHits = 1000

// Hits are the tokens that an entry refuses and that would be good without it.
type Hits struct {
	Total  int
	Tokens []audit.Record // the records of their exchange, newest first, at most MaxHits
}

// lateRecords is how much earlier than a record its neighbours of a smaller number may have been made: replicas' clocks differ,
// and a record waits for its group.
const lateRecords = 2 * time.Minute

// Hits says whom an entry hits: of the tokens that the trail says were issued and that still live, those that the entry refuses,
// judged by the very code by which a verifier judges, without those that an earlier entry refuses. It reads the trail in pages,
// from where the oldest live token can be.
func (s *Service) Hits(ctx context.Context, entry store.Revocation) (Hits, error) {
	now, from := s.cfg.Now(), s.cfg.Revocations(entry.Org)
	known, err := from.Revocations(ctx, now)
	if err != nil {
		return Hits{}, fmt.Errorf("admin: revocations of org %s: %w", entry.Org, err)
	}
	known = slices.DeleteFunc(known, func(r store.Revocation) bool { return entry.Sequence > 0 && r.Sequence >= entry.Sequence })
	before, mine := revocation.Of(known...), revocation.Of(entry)
	after, err := since(ctx, from, now.Add(-s.cfg.MaxLife-lateRecords))
	if err != nil {
		return Hits{}, fmt.Errorf("admin: the trail of org %s: %w", entry.Org, err)
	}
	var out Hits
	for {
		page, err := from.AuditRecords(ctx, store.AuditQuery{After: after, Limit: store.MaxPage})
		if err != nil {
			return Hits{}, fmt.Errorf("admin: the trail of org %s: %w", entry.Org, err)
		}
		for _, stored := range page {
			r, err := audit.Decode(stored)
			if err != nil {
				return Hits{}, fmt.Errorf("admin: %w", err)
			}
			c, ok := issued(r, s.cfg.MaxLife)
			if !ok || !now.Before(c.Expiry) || !mine.Refuse(c, now) || before.Refuse(c, now) {
				continue
			}
			out.Total++
			r.Time, r.Expiry = c.IssuedAt, c.Expiry
			out.Tokens = append(out.Tokens, r)
			if len(out.Tokens) >= 2*MaxHits {
				out.Tokens = slices.Clone(out.Tokens[len(out.Tokens)-MaxHits:])
			}
		}
		if len(page) < store.MaxPage {
			break
		}
		after = page[len(page)-1].Sequence
	}
	out.Tokens = out.Tokens[max(0, len(out.Tokens)-MaxHits):]
	slices.Reverse(out.Tokens)
	return out, nil
}

// since finds a number after which are all records of an org that were made at or after a time, by asking for one record at a
// time: at most some sixty of them, however long the trail is.
func since(ctx context.Context, from RevocationStore, t time.Time) (uint64, error) {
	earlier := func(after uint64) (bool, error) { // the first record behind a number is from before t
		page, err := from.AuditRecords(ctx, store.AuditQuery{After: after, Limit: 1})
		return len(page) == 1 && page[0].Time.Before(t), err
	}
	low, high := uint64(0), uint64(1) // earlier(low), as far as that is known
	for ; high < math.MaxInt64/2; high *= 2 {
		if ok, err := earlier(high); err != nil {
			return 0, err
		} else if !ok {
			break
		}
		low = high
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		ok, err := earlier(middle)
		switch {
		case err != nil:
			return 0, err
		case ok:
			low = middle
		default:
			high = middle
		}
	}
	return low, nil
}

// issued are the claims by which the token of a record is judged. A record from before expiries were written down stands for
// the longest life that there is.
func issued(r audit.Record, maxLife time.Duration) (*delegation.Claims, bool) {
	if r.Kind != audit.KindExchange || r.Outcome != audit.OutcomeApproved || r.TokenID == "" {
		return nil, false
	}
	scope, err := delegation.NewScopes(r.ScopeGranted...)
	if err != nil {
		return nil, false
	}
	c := &delegation.Claims{
		OrgID: r.Org, ID: r.TokenID, Transaction: r.Transaction, Lineage: r.Lineage, Subject: r.Subject, SessionID: r.Session,
		ClientID: r.ClientID, Scope: scope, IssuedAt: r.Time.Truncate(time.Second), SubjectIssuedAt: r.Began, Expiry: r.Expiry,
	}
	for _, agent := range slices.Backward(r.Chain) {
		c.Actor = &delegation.Actor{Subject: agent, Act: c.Actor}
	}
	if c.Expiry.IsZero() {
		c.Expiry = c.IssuedAt.Add(maxLife)
	}
	return c, true
}
