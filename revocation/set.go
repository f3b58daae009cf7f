package revocation

import (
	"fmt"
	"slices"
	"strings"
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
// Entries live as long as what they refuse can live (a token's hour, a login's day), so the set is bounded by what is revoked
// in that time and not by history. There is no cache that evicts and no filter that may be wrong: a forgotten entry would be
// a revived token.
type Set struct {
	staleAfter time.Duration
	heard      atomic.Pointer[time.Time] // with its monotonic reading; nil before the first Heard

	mu sync.RWMutex
	content
}

// NewSet returns an empty set that refuses everything until Heard is called, and whenever the last Heard is longer than
// staleAfter ago (0 means DefaultStaleAfter): what was revoked meanwhile is not known.
func NewSet(staleAfter time.Duration) *Set {
	if staleAfter <= 0 {
		staleAfter = DefaultStaleAfter
	}
	return &Set{staleAfter: staleAfter, content: newContent()}
}

// Check implements delegation.Revocations: nil, delegation.ErrRevoked (wrapped, says by which kind of key) or
// delegation.ErrUnavailable when the set is stale.
//
// An entry refuses a token that began at or before its Before: whose iat, or subject_iat, is not later. The second makes a tree
// as old as the login that began it, so a replica that mints a token from an old login before it has heard revives nothing, and
// an entry that comes late, about an earlier time, leaves newer logins alone (SS7). A tree that no login began is taken to be
// Deaf older than its tokens. Times are cut to seconds, so a token of the second after Before may be refused too; the other way
// round a revoked token would pass. An entry for a token or a transaction refuses whenever: such an id is never issued again,
// and a token derived from a revoked one must not live because a replica derived it before it had heard (RV7).
func (s *Set) Check(c *delegation.Claims, now time.Time) error {
	if err := s.Fresh(now); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	org := s.orgs[c.OrgID]
	if org == nil {
		return nil
	}
	if kind, found := s.match(org, c, now).claims(c); found {
		return fmt.Errorf("%w: %s", delegation.ErrRevoked, kind)
	}
	return nil
}

// Some are some entries, to tell what they would refuse. They judge by the very code by which a Set does, so that a preview
// and what is enforced cannot disagree. They are for one goroutine.
type Some struct{ content }

// Of returns entries to judge by.
func Of(entries ...store.Revocation) *Some {
	s := &Some{newContent()}
	for _, e := range entries {
		s.add(e)
	}
	return s
}

// Refuse reports whether one of the entries refuses the token at now.
func (s *Some) Refuse(c *delegation.Claims, now time.Time) bool {
	org := s.orgs[c.OrgID]
	if org == nil {
		return false
	}
	_, found := s.match(org, c, now).claims(c)
	return found
}

// CheckConnection is Check for a connection: iat is that of the token that would use it, or when its credential was put.
func (s *Set) CheckConnection(org delegation.OrgID, id string, iat, now time.Time) error {
	if err := s.Fresh(now); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.orgs[org] == nil {
		return nil
	}
	m := match{content: &s.content, org: s.orgs[org], issued: floor(iat), began: floor(iat), now: floor(now)}
	if m.one(Connection, id) {
		return fmt.Errorf("%w: %s", delegation.ErrRevoked, Connection)
	}
	return nil
}

// CheckKey implements delegation.Revocations: it is Check for the key that signed a token.
func (s *Set) CheckKey(kid string, now time.Time) error {
	if err := s.Fresh(now); err != nil {
		return err
	}
	if s.Burnt(kid, now) {
		return fmt.Errorf("%w: %s", delegation.ErrRevoked, Key)
	}
	return nil
}

// Burnt reports whether a signing key is known to be in wrong hands. A stale set says what it last heard.
func (s *Set) Burnt(kid string, now time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	org := s.orgs[store.PlatformOrg]
	if org == nil {
		return false
	}
	m := match{content: &s.content, org: org, now: floor(now)}
	return m.found(key{kind: Key, id: kid})
}

// match compares one token with the entries of its org. Its times are seconds.
type match struct {
	*content
	org                *entries
	scopes             []string // the token's, and its providers with ':'; nil when no entry of the org has a scope
	issued, began, now uint32
}

func (c *content) match(org *entries, claims *delegation.Claims, now time.Time) *match {
	began := claims.SubjectIssuedAt
	switch {
	case began.IsZero():
		began = claims.IssuedAt.Add(-Deaf)
	case claims.IssuedAt.Before(began):
		began = claims.IssuedAt
	}
	m := &match{content: c, org: org, issued: floor(claims.IssuedAt), began: floor(began), now: floor(now)}
	if org.scoped > 0 {
		m.scopes = withProviders(claims.Scope)
	}
	return m
}

// withProviders are the scopes and, for each provider among them, what stands for all of its own.
func withProviders(scopes delegation.Scopes) []string {
	list := scopes.List()
	for _, s := range list {
		if i := strings.IndexByte(s, ':'); i >= 0 && !slices.Contains(list, s[:i+1]) {
			list = append(list, s[:i+1])
		}
	}
	return list
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

// one looks for an entry of a key, and where the org has entries for single scopes, for those of the token's.
func (m *match) one(kind Kind, id string) bool {
	if m.found(key{kind: kind, id: id}) {
		return true
	}
	return slices.ContainsFunc(m.scopes, func(scope string) bool { return m.found(key{kind: kind, id: id, scope: scope}) })
}

func (m *match) found(k key) bool {
	slot := m.slot(k)
	first, ok := m.org.first[slot]
	if !ok {
		return false
	}
	check := m.check(k)
	if m.refuses(k.kind, check, first) {
		return true
	}
	for _, s := range m.org.more[slot] {
		if m.refuses(k.kind, check, s) {
			return true
		}
	}
	return false
}

func (m *match) refuses(kind Kind, check uint32, s span) bool {
	return s.check == check && m.now <= s.until &&
		(kind == Token || kind == Transaction || kind == Key || s.since <= m.issued && m.began <= s.before)
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

// Add adds entries. Of two for one key and scope from one Since on, the later Before and the later Until hold, so order and
// repetition do not matter; others stand beside each other, because together they must not refuse what neither does.
func (s *Set) Add(entries ...store.Revocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.add(e)
	}
}

// Draft is what a set will hold. It is for one goroutine.
type Draft struct {
	set *Set
	content
}

// Draft returns an empty draft.
func (s *Set) Draft() *Draft { return &Draft{set: s, content: newContent()} }

// Add adds entries, as the set's Add does.
func (d *Draft) Add(entries ...store.Revocation) {
	for _, e := range entries {
		d.add(e)
	}
}

// Commit replaces all that the set held at once: no Check sees a mixture. The draft is used up.
func (d *Draft) Commit() {
	d.set.mu.Lock()
	defer d.set.mu.Unlock()
	d.set.content = d.content
}

// Replace replaces all entries at once.
func (s *Set) Replace(entries []store.Revocation) {
	d := s.Draft()
	d.Add(entries...)
	d.Commit()
}

// Expire forgets the entries whose Until has passed. It looks at those only.
func (s *Set) Expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(floor(now))
}

// Len returns how many entries there are.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count
}
