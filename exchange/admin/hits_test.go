package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/store"
)

// leaf is a token of a forest, with what it was made from as the test made it, not as the token says.
type leaf struct {
	token, name string
	claims      delegation.Claims
	holder      exchangetest.Agent
	parent      *leaf
}

// from reports whether a token is another or descends from it.
func (l *leaf) from(other *leaf) bool { return l == other || l.parent != nil && l.parent.from(other) }

// acted reports whether an agent acted for a token or for any before it.
func (l *leaf) acted(name string) bool {
	return l.holder.Name == name || l.parent != nil && l.parent.acted(name)
}

// forest is two trees: alice's of four hops and a fan-out of 50 under its root, and bob's.
type forest struct {
	w     *exchangetest.World
	roots map[string]*leaf
	all   []*leaf
}

func (f *forest) add(t *testing.T, name string, parent *leaf, by exchangetest.Agent, req exchange.Request, holder exchangetest.Agent) *leaf {
	t.Helper()
	l := &leaf{name: name, parent: parent, holder: holder, token: f.w.Exchange(t, by, req).AccessToken}
	l.claims = f.w.Claims(t, l.token)
	f.all = append(f.all, l)
	return l
}

func (f *forest) next(t *testing.T, name string, parent *leaf, to exchangetest.Agent) *leaf {
	t.Helper()
	req := exchangetest.Next(parent.token, "")
	if to.Name != parent.holder.Name {
		req = f.w.HandOver(t, parent.token, "", to)
	}
	return f.add(t, name, parent, parent.holder, req, to)
}

func plant(t *testing.T, w *exchangetest.World) *forest {
	t.Helper()
	f := &forest{w: w, roots: map[string]*leaf{}}
	for _, user := range []string{"alice", "bob"} {
		login := w.IDP.IDToken(t, user, func(c exchangetest.Claims) { c["sid"] = "session of " + user })
		f.roots[user] = f.add(t, user, nil, w.Orchestrator, exchangetest.FirstHop(login, "github:read"), w.Orchestrator)
	}
	w.Advance(t, time.Minute)
	hop := f.next(t, "alice's hop 2", f.roots["alice"], w.Researcher)
	hop = f.next(t, "alice's hop 3", hop, w.Courier)
	f.next(t, "alice's hop 4", hop, w.Researcher)
	for i := range 50 {
		f.next(t, fmt.Sprint("alice's fan ", i), f.roots["alice"], []exchangetest.Agent{w.Orchestrator, w.Researcher, w.Courier}[i%3])
	}
	f.next(t, "bob's hop 2", f.roots["bob"], w.Courier)
	return f
}

// dead are the names of the tokens that every door refuses: the verifier, introspection and the exchange agree on each. renewed
// says that what is issued now would be hit, whatever for.
func (f *forest) dead(t *testing.T, renewed func(*forest, *leaf) bool) (names []string) {
	t.Helper()
	for _, l := range f.all {
		_, err := f.w.Verifier.Verify(t.Context(), l.token)
		refused := errors.Is(err, delegation.ErrRevoked)
		if err != nil && !refused {
			t.Fatalf("%s: %v", l.name, err)
		}
		seen, err := f.w.Service.Introspect(t.Context(), l.holder.Credential(), l.token, false)
		if err != nil || seen.Active == refused {
			t.Errorf("%s: introspection says active %v, %v", l.name, seen.Active, err)
		}
		_, err = f.w.Service.Exchange(context.Background(), l.holder.Credential(), exchangetest.Next(l.token, ""))
		refusable := refused || renewed != nil && renewed(f, l)
		if (err != nil) != refusable || err != nil && exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
			t.Errorf("%s: its exchange: %v", l.name, err)
		}
		if refused {
			names = append(names, l.name)
		}
	}
	slices.Sort(names)
	return names
}

// TestRevocationOfTrees: RV6, RV7. Revoking anything refuses exactly the tokens of it and their descendants, over four hops and a
// fan-out of fifty, at every door; nothing else is touched. The dry run before it names exactly those, and after it there is
// nothing left to hit.
func TestRevocationOfTrees(t *testing.T) {
	t.Parallel()
	none := func(*forest, *leaf) bool { return false }
	for _, c := range []struct {
		name string
		req  func(*forest) admin.RevokeRequest
		hits func(*forest, *leaf) bool
		// The token lives, and what it would be exchanged for now is hit all the same: it is issued since, or by the client.
		renewed func(*forest, *leaf) bool
	}{
		{"the root", func(f *forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "token", ID: f.roots["alice"].claims.ID}
		},
			func(f *forest, l *leaf) bool { return l.from(f.roots["alice"]) }, nil},
		{"a token in the middle", func(f *forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "token", ID: f.all[2].claims.ID} },
			func(f *forest, l *leaf) bool { return l.from(f.all[2]) }, nil},
		{"the transaction", func(f *forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "transaction", ID: f.roots["alice"].claims.Transaction}
		}, func(f *forest, l *leaf) bool { return l.from(f.roots["alice"]) }, nil},
		{"the user", func(*forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "subject", ID: "user:acme/okta|alice"}
		},
			func(f *forest, l *leaf) bool { return l.from(f.roots["alice"]) }, nil},
		{"the session", func(*forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "session", ID: "session of bob"} },
			func(f *forest, l *leaf) bool { return l.from(f.roots["bob"]) }, nil},
		{"the orchestrator", func(*forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "agent", ID: "orchestrator"} },
			func(*forest, *leaf) bool { return true }, nil},
		{"an agent in the middle of a chain", func(*forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "agent", ID: "courier"} },
			func(_ *forest, l *leaf) bool { return l.acted("courier") }, nil},
		{"the client", func(*forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "client", ID: "acme.courier"} },
			func(_ *forest, l *leaf) bool { return l.claims.ClientID == "acme.courier" },
			func(_ *forest, l *leaf) bool { return l.holder.ClientID == "acme.courier" }},
		{"the org", func(*forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "org", ID: "acme"} },
			func(*forest, *leaf) bool { return true }, nil},
		{"an agent for a provider", func(*forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "agent", ID: "researcher", Provider: "github"}
		}, func(_ *forest, l *leaf) bool { return l.acted("researcher") }, nil},
		{"an agent for another provider", func(*forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "agent", ID: "orchestrator", Provider: "payments"}
		}, none, nil},
		{"an agent since a minute", func(f *forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "agent", ID: "orchestrator", Since: f.w.Clock.Now()}
		}, func(_ *forest, l *leaf) bool { return l.parent != nil }, func(*forest, *leaf) bool { return true }},
		{"somebody else", func(*forest) admin.RevokeRequest {
			return admin.RevokeRequest{Kind: "subject", ID: "user:acme/okta|carol"}
		}, none, nil},
		{"a connection", func(*forest) admin.RevokeRequest { return admin.RevokeRequest{Kind: "connection", ID: "alice"} }, none, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, s := start(t)
			f := plant(t, w)
			var want []string
			ids := map[string]string{}
			for _, l := range f.all {
				ids[l.claims.ID] = l.name
				if c.hits(f, l) {
					want = append(want, l.name)
				}
			}
			slices.Sort(want)
			preview := func(e store.Revocation) (names []string) {
				t.Helper()
				hits, err := s.Hits(t.Context(), e)
				if err != nil || hits.Total != len(hits.Tokens) {
					t.Fatalf("%d of %d, %v", len(hits.Tokens), hits.Total, err)
				}
				for _, r := range hits.Tokens {
					names = append(names, ids[r.TokenID])
				}
				slices.Sort(names)
				return names
			}
			req := c.req(f)
			req.Org, req.DryRun = "acme", true
			dry, err := s.Revoke(t.Context(), req)
			if err != nil || dry.Sequence != 0 {
				t.Fatalf("%+v, %v", dry, err)
			}
			if got := preview(dry); !slices.Equal(got, want) {
				t.Errorf("the dry run says %v, want %v", got, want)
			}
			if got := f.dead(t, nil); len(got) != 0 {
				t.Errorf("a dry run killed %v", got)
			}
			req.DryRun = false
			entry, err := s.Revoke(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.dead(t, c.renewed); !slices.Equal(got, want) {
				t.Errorf("dead are %v, want %v", got, want)
			}
			again := entry
			again.Sequence = 0
			if got := preview(again); len(got) != 0 {
				t.Errorf("and again: %v", got)
			}
			if _, err := w.Verifier.Verify(t.Context(), w.Token(t, w.Stranger, "github:read", nil)); err != nil {
				t.Errorf("another org: %v", err)
			}
		})
	}
}

// TestNewerLoginIsNotTouched: SS7. What a user does after a revocation, with a login from after it, is as if nothing had been,
// however late the entry comes about an earlier time; with the login from before, nothing goes (RV7).
func TestNewerLoginIsNotTouched(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	old := w.IDP.IDToken(t, "alice", nil)
	event := w.Clock.Now()
	w.Advance(t, 30*time.Second)
	login := w.IDP.IDToken(t, "alice", nil)
	fromOld := w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(old, "")).AccessToken // a replica that has not heard
	fromNew := w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(login, "")).AccessToken
	_, err := w.Store.Org("acme").Revoke(t.Context(), store.Revocation{
		Kind: "subject", ID: "user:acme/okta|alice", Before: event, Until: event.Add(24 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Advance(t, 0)
	if _, err := w.Verifier.Verify(t.Context(), fromOld); !errors.Is(err, delegation.ErrRevoked) {
		t.Errorf("a token from the old login: %v", err)
	}
	if _, err := w.Verifier.Verify(t.Context(), fromNew); err != nil {
		t.Errorf("a token from the new login: %v", err)
	}
	if _, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(old, "")); exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
		t.Errorf("the old login: %v", err)
	}
	w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(login, ""))
	if hits, err := s.Hits(t.Context(), store.Revocation{Org: "acme", Kind: "subject", ID: "user:acme/okta|alice", Before: w.Clock.Now(),
		Until: w.Clock.Now().Add(time.Hour)}); err != nil || hits.Total != 2 {
		t.Errorf("what another would hit: %+v, %v", hits.Total, err) // the two of the new login
	}
}

// TestNothingRefusedIsIssued: a filter for a provider refuses the mint of a token with its scopes from an old login, and of no
// other.
func TestNothingRefusedIsIssued(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	login := w.IDP.IDToken(t, "alice", nil)
	if _, err := s.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: "agent", ID: "orchestrator", Provider: "github"}); err != nil {
		t.Fatal(err)
	}
	w.Advance(t, time.Minute)
	_, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(login, "github:read"))
	if exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
		t.Errorf("the old login: %v", err)
	}
	w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
}

// trail is an org's records, made up: one each second, and others' numbers in between.
type trail struct {
	admin.RevocationStore
	records []store.AuditRecord
	asked   int
}

func (f *trail) AuditRecords(_ context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	f.asked++
	i, _ := slices.BinarySearchFunc(f.records, q.After+1, func(r store.AuditRecord, n uint64) int { return int(int64(r.Sequence) - int64(n)) })
	return f.records[i:min(len(f.records), i+q.Limit)], nil
}

func (f *trail) Revocations(context.Context, time.Time) ([]store.Revocation, error) { return nil, nil }

// TestHitsReadTheEndOfTheTrail: a long trail is not read from its beginning, and what is listed is bounded and the newest.
func TestHitsReadTheEndOfTheTrail(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	now, f := w.Clock.Now(), &trail{}
	const total = 100_000
	for i := range total {
		at := now.Add(time.Duration(i-total) * time.Second)
		f.records = append(f.records, store.AuditRecord{Sequence: uint64(i)*7 + 5, Org: "acme", ActionID: fmt.Sprintf("t.j%d", i), Transaction: "t",
			Time: at, Body: fmt.Appendf(nil, `{"action_id":"t.j%d","kind":"exchange","outcome":"approved","org_id":"acme","time":%q,"transaction":"t","token_id":"j%d"}`,
				i, at.Format(time.RFC3339Nano), i)})
	}
	cfg := w.Admin()
	cfg.Revocations = func(delegation.OrgID) admin.RevocationStore { return f }
	s, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	hits, err := s.Hits(t.Context(), store.Revocation{Org: "acme", Kind: "transaction", ID: "t", Until: now.Add(time.Hour)})
	if err != nil || hits.Total != 3599 || len(hits.Tokens) != admin.MaxHits || hits.Tokens[0].TokenID != "j99999" || hits.Tokens[999].TokenID != "j99000" {
		t.Errorf("%d, %d listed, %v", hits.Total, len(hits.Tokens), err)
	}
	if f.asked > 60 {
		t.Errorf("the trail was asked %d times", f.asked)
	}
}

func TestRevokeRefusesWhatMeansNothing(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	for name, req := range map[string]admin.RevokeRequest{
		"an agent departs":         {Kind: "agent", ID: "courier", Departed: true},
		"a connection's provider":  {Kind: "connection", ID: "c", Provider: "github"},
		"a provider with a colon":  {Kind: "agent", ID: "courier", Provider: "github:"},
		"a token since":            {Kind: "token", ID: "j", Since: w.Clock.Now()},
		"since the future":         {Kind: "agent", ID: "courier", Since: w.Clock.Now().Add(time.Minute)},
		"a provider of 33 letters": {Kind: "agent", ID: "courier", Provider: strings.Repeat("a", 33)},
	} {
		req.Org = "acme"
		if got, err := s.Revoke(t.Context(), req); !errors.Is(err, admin.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
