package revocation

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// fresh is a set that has heard.
func fresh(entries ...store.Revocation) *Set {
	s := NewSet(time.Hour)
	s.Heard(epoch)
	s.Add(entries...)
	return s
}

func entry(kind Kind, id string, before int) store.Revocation {
	return store.Revocation{Org: "acme", Kind: string(kind), ID: id, Before: at(before), Until: at(before + 1000)}
}

// with narrows an entry; 0 is no Since.
func with(e store.Revocation, scope string, since int) store.Revocation {
	e.Scope = scope
	if since != 0 {
		e.Since = at(since)
	}
	return e
}

func scopes(t interface {
	Helper()
	Fatal(...any)
}, names ...string) delegation.Scopes {
	t.Helper()
	s, err := delegation.NewScopes(names...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claims() *delegation.Claims {
	scope, err := delegation.NewScopes("crm:read", "mail:read")
	if err != nil {
		panic(err)
	}
	return &delegation.Claims{
		Scope: scope, SubjectIssuedAt: at(100),
		OrgID: "acme", ID: "j3", Lineage: []string{"j1", "j2"}, Transaction: "t1", Subject: "user:acme/okta|1", SessionID: "s1",
		ClientID: "acme.researcher", IssuedAt: at(100), Expiry: at(400),
		Actor: &delegation.Actor{Subject: "agent:acme/researcher", Act: &delegation.Actor{Subject: "agent:acme/orchestrator"}},
	}
}

func TestKindsRefuse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		e       store.Revocation
		refuses bool
	}{
		{"jti", entry(Token, "j3", 200), true},
		{"parent's jti (RV7)", entry(Token, "j2", 200), true},
		{"root's jti (RV7)", entry(Token, "j1", 200), true},
		{"parent's jti, and the child was minted later (RV7)", entry(Token, "j1", 50), true},
		{"txn", entry(Transaction, "t1", 200), true},
		{"txn, and the token was minted later", entry(Transaction, "t1", 50), true},
		{"sub", entry(Subject, "user:acme/okta|1", 200), true},
		{"sid", entry(Session, "s1", 200), true},
		{"current actor", entry(Agent, "agent:acme/researcher", 200), true},
		{"prior actor (DESIGN §4)", entry(Agent, "agent:acme/orchestrator", 200), true},
		{"client", entry(Client, "acme.researcher", 200), true},
		{"org", entry(Org, "acme", 200), true},
		{"issued at Before", entry(Subject, "user:acme/okta|1", 100), true},
		{"issued after Before", entry(Subject, "user:acme/okta|1", 99), false},
		{"one of its scopes", with(entry(Subject, "user:acme/okta|1", 200), "crm:read", 0), true},
		{"a scope that it lacks", with(entry(Subject, "user:acme/okta|1", 200), "crm:write", 0), false},
		{"its provider's scopes", with(entry(Agent, "agent:acme/orchestrator", 200), "crm:", 0), true},
		{"another provider's scopes", with(entry(Agent, "agent:acme/orchestrator", 200), "cr:", 0), false},
		{"a provider without its colon", with(entry(Agent, "agent:acme/orchestrator", 200), "crm", 0), false},
		{"issued at Since", with(entry(Agent, "agent:acme/researcher", 200), "", 100), true},
		{"issued before Since", with(entry(Agent, "agent:acme/researcher", 200), "", 101), false},
		{"a jti of one scope", with(entry(Token, "j1", 200), "crm:read", 0), true},
		{"another jti", entry(Token, "j4", 200), false},
		{"an id under another kind", entry(Subject, "j3", 200), false},
		{"a connection is no claim", entry(Connection, "s1", 200), false},
		{"an unknown kind", entry("planet", "acme", 200), false},
		{"a prefix", entry(Agent, "agent:acme/orchestrat", 200), false},
	}
	for _, tt := range tests {
		err := fresh(tt.e).Check(claims(), at(200))
		if Of(tt.e).Refuse(claims(), at(200)) != tt.refuses {
			t.Errorf("%s: what is previewed is not what is enforced", tt.name)
		}
		if tt.refuses != errors.Is(err, delegation.ErrRevoked) || !tt.refuses && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		other := tt.e
		other.Org = "other"
		if err := fresh(other).Check(claims(), at(200)); err != nil {
			t.Errorf("%s: another org's entry refuses: %v", tt.name, err)
		}
	}
	c := claims()
	c.SessionID = ""
	if err := fresh(entry(Session, "", 200)).Check(c, at(200)); err != nil {
		t.Errorf("no session is not a session: %v", err)
	}
}

// TestBurntKey: threat: key theft. An entry for a signing key refuses in every org whatever the iat, for longer than any verifier
// may hold a key set; an org's own entries name no keys.
func TestBurntKey(t *testing.T) {
	t.Parallel()
	e := NewKey("k1", "stolen", epoch)
	if e.Org != store.PlatformOrg || e.Until.Before(epoch.Add(delegation.MaxKeysStale+delegation.MaxLife)) {
		t.Errorf("%+v", e)
	}
	s := fresh(e)
	for kid, want := range map[string]error{"k1": delegation.ErrRevoked, "k2": nil, "": nil} {
		if err := s.CheckKey(kid, at(3000)); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: %v", kid, err)
		}
	}
	foreign := e
	foreign.Org = "acme"
	if err := fresh(foreign).CheckKey("k1", at(1)); err != nil {
		t.Errorf("an org's entry refuses everybody's tokens: %v", err)
	}
	stale := NewSet(time.Second)
	stale.Add(e)
	stale.Heard(epoch)
	if err := stale.CheckKey("k2", at(100)); !errors.Is(err, delegation.ErrUnavailable) || !stale.Burnt("k1", at(100)) {
		t.Errorf("a stale set: %v", err)
	}
}

// TestTruncationErrsTowardsRefusing: iat 100 may stand for a token of 100.9, revoked at 100.5. It is refused, and so is the
// one that was issued at 100.7 for real.
func TestTruncationErrsTowardsRefusing(t *testing.T) {
	t.Parallel()
	e := entry(Subject, "user:acme/okta|1", 100)
	e.Before = e.Before.Add(500 * time.Millisecond)
	if err := fresh(e).Check(claims(), at(200)); !errors.Is(err, delegation.ErrRevoked) {
		t.Errorf("issued within the second of the revocation: %v", err)
	}
	c := claims()
	c.IssuedAt, c.SubjectIssuedAt = at(101), at(101)
	if err := fresh(e).Check(c, at(200)); err != nil {
		t.Errorf("issued in the next second: %v", err)
	}
}

// TestOlderLoginsDie: what a replica mints before it has heard is refused by the login that it descends from, or by its own age
// when there was none; a newer login is left alone, also by an entry that comes late (SS7).
func TestOlderLoginsDie(t *testing.T) {
	t.Parallel()
	e := New("acme", Subject, "user:acme/okta|1", "stolen", at(95), time.Hour) // Before is 97
	for _, tt := range []struct {
		name         string
		login, token int // 0: no login
		refuses      bool
	}{
		{"minted and logged in before", 90, 96, true},
		{"minted an hour later from a login before", 90, 3000, true},
		{"logged in within the margin", 97, 120, true},
		{"logged in after", 98, 98, false},
		{"its issuer's clock is ahead of ours", 120, 96, true},
		{"no login, minted before", 0, 96, true},
		{"no login, minted by a replica that was deaf", 0, 105, true},
		{"no login, minted when every replica had heard or was stale", 0, 106, false},
	} {
		c := claims()
		c.IssuedAt, c.SubjectIssuedAt = at(tt.token), time.Time{}
		if tt.login != 0 {
			c.SubjectIssuedAt = at(tt.login)
		}
		if err := fresh(e).Check(c, at(3000)); tt.refuses != errors.Is(err, delegation.ErrRevoked) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if dead := at(97).Add(time.Hour); e.Until.Before(dead) {
		t.Errorf("the entry ends at %s, a token that it refuses at %s", e.Until, dead)
	}
}

func TestStaleRefuses(t *testing.T) {
	t.Parallel()
	s := NewSet(5 * time.Second)
	check := func(name string, now time.Time, fresh bool) {
		t.Helper()
		for _, err := range []error{s.Check(claims(), now), s.CheckConnection("acme", "c", now, now), s.Fresh(now)} {
			if fresh && err != nil || !fresh && !errors.Is(err, delegation.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	check("never heard", at(0), false)
	s.Heard(at(10))
	check("just heard", at(10), true)
	check("at the bound", at(15), true)
	check("beyond the bound", at(15).Add(time.Millisecond), false)
	s.Heard(at(20))
	s.Heard(at(12))
	check("an old message does not make it older", at(25), true)
	s.Replace(nil)
	check("a new content is not news of its age", at(26), false)
}

func TestConnection(t *testing.T) {
	t.Parallel()
	s := fresh(entry(Connection, "c1", 100))
	for _, tt := range []struct {
		org     delegation.OrgID
		id      string
		iat     int
		refuses bool
	}{{"acme", "c1", 100, true}, {"acme", "c1", 101, false}, {"acme", "c2", 100, false}, {"other", "c1", 100, false}} {
		err := s.CheckConnection(tt.org, tt.id, at(tt.iat), at(200))
		if tt.refuses != errors.Is(err, delegation.ErrRevoked) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestParseKind(t *testing.T) {
	t.Parallel()
	for _, k := range []Kind{Token, Transaction, Subject, Session, Agent, Client, Org, Connection, Key} {
		if got, err := ParseKind(string(k)); got != k || err != nil {
			t.Errorf("%s: %s, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "Token", "token ", "jti"} {
		if k, err := ParseKind(s); err == nil {
			t.Errorf("%q is %s", s, k)
		}
	}
}

// naive is the law, without any index and in whole seconds: DESIGN §7, and RV7 for a token and a transaction.
func naive(list []store.Revocation, c *delegation.Claims, now time.Time) bool {
	began := c.IssuedAt.Add(-Deaf)
	if s := c.SubjectIssuedAt; !s.IsZero() {
		began = s
		if c.IssuedAt.Before(began) {
			began = c.IssuedAt
		}
	}
	return slices.ContainsFunc(list, func(e store.Revocation) bool {
		if e.Org != c.OrgID || !alive(e, now) || e.Scope != "" && !hasScope(c.Scope, e.Scope) {
			return false
		}
		window := began.Unix() <= e.Before.Unix() && c.IssuedAt.Unix() >= e.Since.Unix()
		switch Kind(e.Kind) {
		case Token:
			return e.ID == c.ID || slices.Contains(c.Lineage, e.ID)
		case Transaction:
			return e.ID == c.Transaction
		case Subject:
			return window && e.ID == c.Subject
		case Session:
			return window && e.ID == c.SessionID && e.ID != ""
		case Agent:
			return window && slices.Contains(c.Chain(), e.ID)
		case Client:
			return window && e.ID == c.ClientID
		case Org:
			return window && e.ID == string(c.OrgID)
		}
		return false
	})
}

func alive(e store.Revocation, now time.Time) bool {
	return now.Unix() <= e.Until.Add(time.Second-1).Unix()
}

// merged is what Add promises of two entries for one key and scope from one Since on: the later Before and the later Until.
func merged(list []store.Revocation) (out []store.Revocation) {
	for _, e := range list {
		i := slices.IndexFunc(out, func(o store.Revocation) bool {
			return o.Org == e.Org && o.Kind == e.Kind && o.ID == e.ID && o.Scope == e.Scope && o.Since.Unix() == e.Since.Unix()
		})
		if i < 0 {
			out = append(out, e)
			continue
		}
		if e.Before.After(out[i].Before) {
			out[i].Before = e.Before
		}
		if e.Until.After(out[i].Until) {
			out[i].Until = e.Until
		}
	}
	return out
}

// hasScope: a provider's name and ':' is any scope of that provider.
func hasScope(has delegation.Scopes, want string) bool {
	return slices.ContainsFunc(has.List(), func(s string) bool {
		return s == want || want[len(want)-1] == ':' && strings.HasPrefix(s, want)
	})
}

func TestSetAgainstNaiveList(t *testing.T) {
	t.Parallel()
	id := rapid.SampledFrom([]string{"", "a", "b", "c", "acme", "other"})
	org := rapid.SampledFrom([]delegation.OrgID{"acme", "other"})
	kind := rapid.SampledFrom([]Kind{Token, Transaction, Subject, Session, Agent, Client, Org, Connection})
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return epoch.Add(time.Duration(rapid.IntRange(0, 600_000).Draw(t, "ms")) * time.Millisecond)
	})
	scope := rapid.SampledFrom([]string{"", "", "crm:read", "mail:read", "crm:"})
	since := rapid.OneOf(rapid.Just(time.Time{}), moment)
	one := rapid.Custom(func(t *rapid.T) store.Revocation {
		return store.Revocation{Org: org.Draw(t, "org"), Kind: string(kind.Draw(t, "kind")), ID: id.Draw(t, "id"),
			Scope: scope.Draw(t, "scope"), Since: since.Draw(t, "since"), Before: moment.Draw(t, "before"), Until: moment.Draw(t, "until")}
	})
	token := rapid.Custom(func(t *rapid.T) *delegation.Claims {
		c := &delegation.Claims{OrgID: org.Draw(t, "org"), ID: id.Draw(t, "jti"), Transaction: id.Draw(t, "txn"),
			Subject: id.Draw(t, "sub"), SessionID: id.Draw(t, "sid"), ClientID: id.Draw(t, "client"),
			Lineage: rapid.SliceOfN(id, 0, 3).Draw(t, "lineage"), IssuedAt: moment.Draw(t, "iat").Truncate(time.Second),
			SubjectIssuedAt: rapid.OneOf(rapid.Just(time.Time{}), moment).Draw(t, "subject_iat").Truncate(time.Second)}
		if s := scope.Draw(t, "scope"); s != "" {
			c.Scope = scopes(t, s)
		}
		for _, a := range rapid.SliceOfN(id, 0, 3).Draw(t, "chain") {
			c.Actor = &delegation.Actor{Subject: a, Act: c.Actor}
		}
		return c
	})
	rapid.Check(t, func(t *rapid.T) {
		s, list, now := fresh(), []store.Revocation(nil), epoch
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				more := rapid.SliceOfN(one, 0, 4).Draw(t, "entries")
				s.Add(more...)
				list = append(list, more...)
			},
			"replace": func(t *rapid.T) {
				list = rapid.SliceOfN(one, 0, 8).Draw(t, "entries")
				s.Replace(list)
				list = slices.Clone(list)
			},
			"time passes": func(t *rapid.T) {
				if next := moment.Draw(t, "now"); next.After(now) {
					now = next
				}
			},
			// What Expire forgets was of no force any more; a later entry for the same key starts anew.
			"expire": func(*rapid.T) {
				s.Expire(now)
				kept := merged(list)
				list = slices.DeleteFunc(kept, func(e store.Revocation) bool { return ceiling(e.Until)/60 < floor(now)/60 })
				if s.Len() != len(list) {
					t.Fatalf("%d entries after Expire, want %d", s.Len(), len(list))
				}
			},
			"": func(t *rapid.T) {
				c := token.Draw(t, "token")
				if err := s.Check(c, now); naive(merged(list), c, now) != errors.Is(err, delegation.ErrRevoked) {
					t.Fatalf("%v for %+v of %+v", err, c, list)
				}
			},
		})
	})
}

// TestOrderAndRepetitionDoNotMatter: the snapshot and the changes of a feed overlap.
func TestOrderAndRepetitionDoNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) store.Revocation {
			e := with(entry(Agent, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id"), rapid.IntRange(0, 50).Draw(t, "before")),
				"", rapid.IntRange(0, 3).Draw(t, "since"))
			e.Until = at(rapid.IntRange(0, 500).Draw(t, "until"))
			return e
		}), 0, 6).Draw(t, "entries")
		again := append(slices.Clone(list), list...)
		a, b := fresh(list...), fresh(rapid.Permutation(again).Draw(t, "order")...)
		if a.Len() != b.Len() {
			t.Fatalf("%d entries, and %d", a.Len(), b.Len())
		}
		for seconds := range 60 {
			c := claims()
			c.Actor = &delegation.Actor{Subject: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "actor")}
			c.IssuedAt, c.SubjectIssuedAt = at(seconds), time.Time{}
			now := at(rapid.IntRange(0, 500).Draw(t, "now"))
			if x, y := a.Check(c, now), b.Check(c, now); (x == nil) != (y == nil) {
				t.Fatalf("%v, and %v", x, y)
			}
		}
	})
}

// TestReplaceIsAtomic: between two snapshots that both refuse a token no check lets it through.
func TestReplaceIsAtomic(t *testing.T) {
	t.Parallel()
	many := []store.Revocation{entry(Token, "j3", 200)}
	for i := range 500 {
		many = append(many, entry(Token, fmt.Sprint(i), 200))
	}
	s := fresh(many...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for range 200 {
			s.Replace(many)
			s.Expire(at(200))
			s.Add(many[1])
		}
	})
	for {
		select {
		case <-stop:
			wg.Wait()
			return
		default:
			if err := s.Check(claims(), at(200)); !errors.Is(err, delegation.ErrRevoked) {
				t.Fatalf("let through: %v", err)
			}
			runtime.Gosched()
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	deep := claims()
	deep.Lineage, deep.Actor = nil, nil
	for i := range delegation.MaxDepth {
		deep.Lineage = append(deep.Lineage, fmt.Sprintf("0123456789abcdef-%d", i))
		deep.Actor = &delegation.Actor{Subject: fmt.Sprintf("agent:acme/agent-number-%d", i), Act: deep.Actor}
	}
	for _, n := range []int{0, 1000, 1_000_000} {
		s := fresh()
		for i := range n {
			s.Add(entry(Token, fmt.Sprintf("01234567-89ab-cdef-%d", i), 200))
		}
		for name, c := range map[string]*delegation.Claims{"depth 2": claims(), "depth 10": deep} {
			b.Run(fmt.Sprintf("%d entries, %s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Check(c, at(200)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := fresh()
		for i := range n {
			s.Add(entry(Token, fmt.Sprintf("01234567-89ab-cdef-%d", i), 200))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/entry")
		runtime.KeepAlive(s)
	}
}
