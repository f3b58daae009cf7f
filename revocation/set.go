package revocation

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// DefaultStaleAfter is how long a Set answers without having heard from its source.
const DefaultStaleAfter = 5 * time.Second

// Set is what is revoked, as far as this process has heard. It implements delegation.Revocations, and is safe for
// concurrent use.
//
// A check costs one map lookup for each claim that an entry may name, and one for all of them when the org has no entries.
// An entry takes about 160 bytes, and lives as long as what it refuses can live (a token's hour, a login's day), so the set
// is bounded by what is revoked in that time and not by history. There is no cache that evicts and no filter that may be wrong: a forgotten entry would be a revived token.
type Set struct {
	staleAfter time.Duration
	heard      atomic.Pointer[time.Time] // with its monotonic reading; nil before the first Heard

	mu sync.RWMutex
	content
}

// content is the entries of a set, by org and by the minute in which they end.
type content struct {
	orgs  map[delegation.OrgID]map[key]span
	due   map[int64][]ref
	count int
}

// key is what an entry is compared with.
type key struct {
	kind Kind
	id   string
}

// span is when an entry refuses, in microseconds: tokens with iat up to before, until until.
type span struct{ before, until int64 }

// ref finds an entry that ends.
type ref struct {
	org delegation.OrgID
	key key
}

// NewSet returns an empty set that refuses everything until Heard is called, and whenever the last Heard is longer than
// staleAfter ago (0 means DefaultStaleAfter): what was revoked meanwhile is not known.
func NewSet(staleAfter time.Duration) *Set {
	if staleAfter <= 0 {
		staleAfter = DefaultStaleAfter
	}
	return &Set{staleAfter: staleAfter, content: newContent()}
}

func newContent() content {
	return content{orgs: map[delegation.OrgID]map[key]span{}, due: map[int64][]ref{}}
}

// Check implements delegation.Revocations: nil, delegation.ErrRevoked (wrapped, says by which kind of key) or
// delegation.ErrUnavailable when the set is stale.
//
// An entry refuses a token whose iat is not later than its Before. iat is cut to seconds, so a token issued within the
// second after Before may be refused too; the other way round a revoked token would pass. An entry for a token or a
// transaction refuses whatever the iat: such an id is never issued again, and a token derived from a revoked one must not
// live because a replica derived it before it had heard (RV7).
func (s *Set) Check(c *delegation.Claims, now time.Time) error {
	if err := s.Fresh(now); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	entries := s.orgs[c.OrgID]
	if len(entries) == 0 {
		return nil
	}
	m := match{entries: entries, iat: c.IssuedAt.UnixMicro(), now: now.UnixMicro()}
	if kind, found := m.claims(c); found {
		return fmt.Errorf("%w: %s", delegation.ErrRevoked, kind)
	}
	return nil
}

// match compares one token with the entries of its org.
type match struct {
	entries  map[key]span
	iat, now int64
}

func (m *match) claims(c *delegation.Claims) (Kind, bool) {
	if m.one(Org, string(c.OrgID)) {
		return Org, true
	}
	if m.one(Token, c.ID) {
		return Token, true
	}
	for _, id := range c.Lineage {
		if m.one(Token, id) {
			return Token, true
		}
	}
	if m.one(Transaction, c.Transaction) {
		return Transaction, true
	}
	if m.one(Subject, c.Subject) {
		return Subject, true
	}
	if c.SessionID != "" && m.one(Session, c.SessionID) {
		return Session, true
	}
	for a := c.Actor; a != nil; a = a.Act {
		if m.one(Agent, a.Subject) {
			return Agent, true
		}
	}
	return Client, m.one(Client, c.ClientID)
}

func (m *match) one(kind Kind, id string) bool {
	e, ok := m.entries[key{kind, id}]
	return ok && m.now <= e.until && (kind == Token || kind == Transaction || m.iat <= e.before)
}

// CheckConnection is Check for a connection: iat is that of the token that would use it, or when its credential was put.
func (s *Set) CheckConnection(org delegation.OrgID, id string, iat, now time.Time) error {
	if err := s.Fresh(now); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := match{entries: s.orgs[org], iat: iat.UnixMicro(), now: now.UnixMicro()}
	if m.one(Connection, id) {
		return fmt.Errorf("%w: %s", delegation.ErrRevoked, Connection)
	}
	return nil
}

// Fresh returns nil, or delegation.ErrUnavailable when the set is stale.
func (s *Set) Fresh(now time.Time) error {
	heard := s.heard.Load()
	if heard == nil {
		return fmt.Errorf("%w: nothing was heard of revocations yet", delegation.ErrUnavailable)
	}
	if age := now.Sub(*heard); age > s.staleAfter {
		return fmt.Errorf("%w: nothing was heard of revocations for %s", delegation.ErrUnavailable, age.Truncate(time.Millisecond))
	}
	return nil
}

// Heard says that the set was complete at that time. An earlier time than the one before changes nothing.
func (s *Set) Heard(at time.Time) {
	for {
		old := s.heard.Load()
		if old != nil && !at.After(*old) || s.heard.CompareAndSwap(old, &at) {
			return
		}
	}
}

// Add adds entries. Of two for one key, the later Before and the later Until hold, so order and repetition do not matter.
func (s *Set) Add(entries ...store.Revocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.add(e)
	}
}

// Replace replaces all entries at once: no Check sees a mixture.
func (s *Set) Replace(entries []store.Revocation) {
	c := newContent()
	for _, e := range entries {
		c.add(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content = c
}

func (c *content) add(e store.Revocation) {
	org := c.orgs[e.Org]
	if org == nil {
		org = map[key]span{}
		c.orgs[e.Org] = org
	}
	k := key{Kind(e.Kind), e.ID}
	now := span{e.Before.UnixMicro(), e.Until.UnixMicro()}
	old, known := org[k]
	if known {
		now = span{max(old.before, now.before), max(old.until, now.until)}
	} else {
		c.count++
	}
	org[k] = now
	if !known || minute(now.until) != minute(old.until) {
		c.due[minute(now.until)] = append(c.due[minute(now.until)], ref{e.Org, k})
	}
}

func minute(micro int64) int64 { return micro / time.Minute.Microseconds() }

// Expire forgets the entries whose Until has passed. It looks at those only.
func (s *Set) Expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m, refs := range s.due {
		if m >= minute(now.UnixMicro()) {
			continue // some of this minute may still be in force
		}
		for _, r := range refs {
			org := s.orgs[r.org]
			e, ok := org[r.key]
			if !ok || minute(e.until) != m {
				continue // forgotten already, or it has been prolonged
			}
			delete(org, r.key)
			s.count--
			if len(org) == 0 {
				delete(s.orgs, r.org)
			}
		}
		delete(s.due, m)
	}
}

// Entries returns a copy of the live entries, in no order, without sequence numbers and reasons.
func (s *Set) Entries(now time.Time) []store.Revocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]store.Revocation, 0, s.count)
	for org, entries := range s.orgs {
		for k, e := range entries {
			if now.UnixMicro() <= e.until {
				out = append(out, store.Revocation{Org: org, Kind: string(k.kind), ID: k.id,
					Before: time.UnixMicro(e.before).UTC(), Until: time.UnixMicro(e.until).UTC()})
			}
		}
	}
	return out
}

// Len returns how many entries there are.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count
}
