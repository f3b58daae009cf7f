package delegation_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/jose"
)

// walk is a tree of tokens under construction: one path of it, and the clock.
type walk struct {
	signer   jose.Signer
	types    rar.Types
	verifier *delegation.Verifier
	now      time.Time
	hops     int
}

func newWalk(t *testing.T) *walk {
	w := &walk{signer: signer(t, "k", jose.EdDSA), types: payment(t), now: noon}
	w.verifier = newVerifier(t, delegation.VerifierConfig{
		Issuer: delegationtest.IssuerURL, AnyAudience: true, Keys: delegation.StaticKeys(jose.NewKeySet(w.signer.Key())),
		Revocations: delegation.NoRevocations, Now: func() time.Time { return w.now }, AcceptBound: true, Remember: -1,
	})
	return w
}

// sign signs a token as the STS does, and holds that what is verified is what was signed.
func (w *walk) sign(t *rapid.T, u delegation.Unsigned) delegation.Verified {
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.signer.Sign(delegation.TokenType, payload)
	if err != nil {
		t.Fatal(err)
	}
	if len(token) > delegation.MaxTokenSize {
		t.Fatalf("%d bytes", len(token))
	}
	v, err := w.verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("what the law allowed does not verify: %v", err)
	}
	if diff := cmp.Diff(u.Claims(), v.Claims(), cmp.Comparer(delegation.Scopes.Equal)); diff != "" {
		t.Fatalf("verify(sign(x)) is not x: %s", diff)
	}
	return v
}

// grant is any grant, lawful or not.
func (w *walk) grant(t *rapid.T) delegation.Grant {
	w.hops++
	orgs := rapid.SampledFrom([]delegation.OrgID{"acme", "acme", "acme", "acme", "acme", "globex"})
	agents := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	g := delegation.Grant{
		Issuer: rapid.SampledFrom([]string{delegationtest.IssuerURL, delegationtest.IssuerURL, delegationtest.IssuerURL, "https://evil.test"}).Draw(t, "iss"),
		Org:    orgs.Draw(t, "org"), ClientID: delegation.ClientID(orgs.Draw(t, "client org"), agents.Draw(t, "client")),
		Actor:    delegation.AgentID(orgs.Draw(t, "actor org"), agents.Draw(t, "actor")),
		Audience: rapid.SampledFrom([]string{"https://a.test", "https://b.test"}).Draw(t, "aud"),
		Scope:    scopesGen().Draw(t, "scope"), ID: fmt.Sprintf("t%d", w.hops), Now: w.now,
		Life:     time.Duration(rapid.IntRange(-1, 3700).Draw(t, "life")) * time.Second,
		MaxDepth: rapid.IntRange(0, 12).Draw(t, "depth"),
	}
	if rapid.Bool().Draw(t, "may act") {
		g.MayAct = delegation.AgentID(orgs.Draw(t, "may act org"), agents.Draw(t, "may act agent"))
	}
	g.Confirmation = bindings().Draw(t, "bind")
	g.Details = w.details(t)
	return g
}

func subjects() *rapid.Generator[delegation.Subject] {
	text := rapid.StringMatching(`[a-zäöü:/ ]{0,20}`)
	return rapid.Custom(func(t *rapid.T) delegation.Subject {
		s := delegation.Subject{
			ID: rapid.OneOf(rapid.Just(delegation.ServiceID("acme", "reporting")), rapid.Map(rapid.StringMatching(`[ -~]{1,40}`), func(sub string) string {
				return must(delegation.UserID("acme", "okta", sub))
			})).Draw(t, "sub"),
			ACR: text.Draw(t, "acr"), SessionID: text.Draw(t, "sid"),
			AMR:    rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,5}`), 0, 3).Draw(t, "amr"),
			Groups: rapid.SliceOfN(rapid.StringMatching(`[A-Z "\\é]{1,12}`), 0, 3).Draw(t, "groups"),
		}
		if len(s.AMR) == 0 {
			s.AMR = nil // absent and empty are one
		}
		if len(s.Groups) == 0 {
			s.Groups = nil
		}
		if rapid.Bool().Draw(t, "signed in") {
			s.AuthTime = noon.Add(-time.Duration(rapid.IntRange(0, 1e6).Draw(t, "ago")) * time.Second)
		}
		if rapid.Bool().Draw(t, "expires") {
			s.Expiry = noon.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "in")) * time.Second)
		}
		return s
	})
}

// lawful is the law once more, said in another way: does the parent allow the grant?
func lawful(p delegation.Claims, g delegation.Grant) bool {
	limit := g.MaxDepth
	if limit == 0 {
		limit = 5
	}
	depth := p.Depth()
	if g.Actor != p.Actor.Subject {
		depth++
	}
	acme := func(id string) bool {
		return id == "" || id[:10] == "agent:acme" || id[:5] == "acme."
	}
	return bindable(p, g) && within(p, g) && g.Org == "acme" && acme(g.Actor) && acme(g.ClientID+"......") && acme(g.MayAct) && g.Issuer == p.Issuer &&
		g.Scope.Intersect(p.Scope).Len() == g.Scope.Len() && g.Now.Before(p.Expiry) && depth <= min(limit, 10) &&
		g.Life >= time.Second && g.Life <= time.Hour
}

// narrower fails unless the child is within its parent in every dimension (DESIGN §4).
func narrower(t *rapid.T, p, c delegation.Claims, g delegation.Grant) {
	same := func(what string, a, b any) {
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("%s changed: %s", what, diff)
		}
	}
	same("org", p.OrgID, c.OrgID)
	same("subject", p.Subject, c.Subject)
	same("issuer", p.Issuer, c.Issuer)
	same("transaction", p.Transaction, c.Transaction)
	same("sign-in", []any{p.ACR, p.AMR, p.AuthTime, p.SessionID, p.Groups}, []any{c.ACR, c.AMR, c.AuthTime, c.SessionID, c.Groups})
	narrowerDetails(t, p, c, g)
	same("lineage", append(p.Lineage, p.ID), c.Lineage)
	if !c.Scope.SubsetOf(p.Scope) {
		t.Fatalf("scope %q is beyond %q", c.Scope, p.Scope)
	}
	if c.Expiry.After(p.Expiry) || c.Expiry.After(g.Now.Add(g.Life)) || !c.Expiry.After(g.Now) || c.NotBefore.Before(p.NotBefore) {
		t.Fatalf("lives %s to %s, the parent to %s", c.NotBefore, c.Expiry, p.Expiry)
	}
	same("cnf", g.Confirmation, c.Confirmation)
	if p.Confirmation != nil && (c.Confirmation == nil || g.Actor == p.Actor.Subject && *c.Confirmation != *p.Confirmation) {
		t.Fatalf("ACT9: bound to %v, and then to %v", p.Confirmation, c.Confirmation)
	}
	if c.Actor.Subject != g.Actor {
		t.Fatalf("%s acts, not %s", c.Actor.Subject, g.Actor)
	}
	if g.Actor == p.Actor.Subject {
		same("chain of a continuation", p.Actor, c.Actor)
	} else {
		same("tail of the chain", p.Actor, c.Actor.Act)
		if c.Depth() != p.Depth()+1 {
			t.Fatalf("the chain grew from %d to %d", p.Depth(), c.Depth())
		}
	}
}

// TestRandomWalks: ACT3, ACT6, ACT8, ACT9, RA3, DP11: over random walks of exchanges no token is wider in any dimension than its parent, the law allows all
// that it should and nothing else, and verify(sign(x)) = x.
func TestRandomWalks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWalk(t)
		first := w.grant(r)
		first.Org, first.ClientID, first.Actor, first.MayAct = "acme", "acme.a", "agent:acme/a", ""
		first.Issuer, first.Transaction, first.Life = delegationtest.IssuerURL, "txn", max(first.Life, time.Minute)
		first.Life = min(first.Life, time.Hour)
		if !bindable(delegation.Claims{}, first) {
			first.Confirmation = nil
		}
		subject := subjects().Draw(r, "subject")
		u, err := delegation.Root(subject, first)
		if err != nil {
			r.Fatal(err)
		}
		if c := u.Claims(); !subject.Expiry.IsZero() && c.Expiry.After(subject.Expiry) || !c.Scope.Equal(first.Scope) || c.Depth() != 1 ||
			string(c.AuthorizationDetails) != string(first.Details.JSON()) {
			r.Fatalf("the root is wider than the subject token: %v", c)
		}
		v := w.sign(r, u)
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			step := time.Duration(rapid.IntRange(0, 120).Draw(r, "pause")) * time.Second
			if w.now.Add(step).Before(v.Expiry().Add(5 * time.Second)) {
				w.now = w.now.Add(step)
			}
			g := w.grant(r)
			if rapid.Bool().Draw(r, "mostly lawful") {
				g.Org, g.ClientID, g.MayAct, g.Issuer, g.MaxDepth = "acme", "acme.a", "", delegationtest.IssuerURL, 10
				g.Scope, g.Life = g.Scope.Intersect(v.Scope()), time.Minute
				w.makeLawful(r, v.Claims(), &g)
			}
			child, err := v.Delegate(g)
			if want := lawful(v.Claims(), g); want != (err == nil) {
				r.Fatalf("lawful is %t, but the law says %v", want, err)
			}
			if law := (*delegation.LawError)(nil); err != nil && !errors.As(err, &law) {
				r.Fatalf("%v is no LawError", err)
			}
			if err == nil {
				narrower(r, v.Claims(), child.Claims(), g)
				v = w.sign(r, child)
			}
		}
	})
}

// TestNarrowingTwice: two narrowings are their intersection; nothing that the first took away comes back.
func TestNarrowingTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWalk(t)
		g := rootGrant(t)
		g.Scope = scopesGen().Draw(r, "root")
		v := w.sign(r, must(delegation.Root(alice(), g)))
		left := g.Scope
		for n := range 3 {
			cut := scopesGen().Draw(r, "cut")
			left = left.Intersect(cut)
			h := childGrant(t)
			h.Now, h.ID, h.Scope = noon, fmt.Sprintf("n%d", n), v.Scope().Intersect(cut)
			v = w.sign(r, must(v.Delegate(h)))
		}
		if !v.Scope().Equal(left) {
			r.Fatalf("%q, want %q", v.Scope(), left)
		}
	})
}
