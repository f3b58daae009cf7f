package delegation_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

const partner, domain = "https://as.partner.test", "acme.internal"

// approved is a root for an audience, as Decide makes one.
func approved(t testing.TB, audience string, change func(*delegation.Subject, *delegation.Grant)) delegation.Unsigned {
	t.Helper()
	s, g := alice(), rootGrant(t)
	g.Audience = audience
	if change != nil {
		change(&s, &g)
	}
	u, err := delegation.Root(s, g)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// members are the claims of what is to be signed.
func members(t testing.TB, u delegation.Unsigned) map[string]any {
	t.Helper()
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func memberNames(t testing.TB, u delegation.Unsigned) string {
	t.Helper()
	return strings.Join(slices.Sorted(maps.Keys(members(t, u))), " ")
}

// TestIDJAG: JG3, AT8.
func TestIDJAG(t *testing.T) {
	t.Parallel()
	u, err := approved(t, partner, nil).IDJAG(delegation.IDJAG{ClientID: "there", Resources: []string{"https://a.test", "https://b.test"}})
	if err != nil {
		t.Fatal(err)
	}
	if u.Type() != "oauth-id-jag+jwt" {
		t.Errorf("typ %q", u.Type())
	}
	m := members(t, u)
	if m["client_id"] != "there" || m["aud"] != partner || m["sub"] != delegationtest.User || m["tenant"] != "acme" {
		t.Errorf("claims %v", m)
	}
	for _, private := range []string{"org_id", "txn", "lineage", "groups", "sid", "may_act"} {
		if m[private] != nil {
			t.Errorf("%s is told to another server", private)
		}
	}
	if diff := cmp.Diff([]any{"https://a.test", "https://b.test"}, m["resource"]); diff != "" {
		t.Error(diff)
	}
	if life := u.Claims().Expiry.Sub(u.Claims().IssuedAt); life > 5*time.Minute {
		t.Errorf("lives %s", life)
	}
}

// TestIDJAGRefuses: JG3.
func TestIDJAGRefuses(t *testing.T) {
	t.Parallel()
	there := delegation.IDJAG{ClientID: "there"}
	again, err := approved(t, partner, nil).IDJAG(there)
	if err != nil {
		t.Fatal(err)
	}
	child, err := root(t, newIssuer(t), rootGrant(t)).Delegate(childGrant(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from delegation.Unsigned
		with delegation.IDJAG
		rule string
	}{
		"nothing approved":     {delegation.Unsigned{}, there, delegation.RuleFormat},
		"an ID-JAG again":      {again, there, delegation.RuleFormat},
		"no root":              {child, there, delegation.RuleAct},
		"a service account":    {approved(t, partner, func(s *delegation.Subject, _ *delegation.Grant) { s.ID = "service:acme/reporting" }), there, delegation.RuleSubject},
		"for ourselves":        {approved(t, delegationtest.IssuerURL, nil), there, delegation.RuleAudience},
		"no client":            {approved(t, partner, nil), delegation.IDJAG{}, delegation.RuleClient},
		"a client of controls": {approved(t, partner, nil), delegation.IDJAG{ClientID: "a\nb"}, delegation.RuleClient},
		"no resource":          {approved(t, partner, nil), delegation.IDJAG{ClientID: "there", Resources: []string{""}}, delegation.RuleAudience},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.from.IDJAG(c.with)
			wantRule(t, err, c.rule)
		})
	}
}

// TestIntrospectionJWT: IN7.
func TestIntrospectionJWT(t *testing.T) {
	t.Parallel()
	good := delegation.Introspection{
		Issuer: delegationtest.IssuerURL, Audience: "acme.executor", IssuedAt: noon, Members: []byte(`{"active":true,"sub":"s","exp":1}`),
	}
	u, err := good.Unsigned()
	if err != nil {
		t.Fatal(err)
	}
	if names := memberNames(t, u); u.Type() != "token-introspection+jwt" || names != "aud iat iss token_introspection" {
		t.Errorf("%s: %s", u.Type(), names)
	}
	for name, change := range map[string]func(*delegation.Introspection){
		"iss":                   func(i *delegation.Introspection) { i.Issuer = "" },
		delegation.RuleAudience: func(i *delegation.Introspection) { i.Audience = "" },
		"iat":                   func(i *delegation.Introspection) { i.IssuedAt = time.Time{} },
		"token_introspection":   func(i *delegation.Introspection) { i.Members = []byte(`{"active":true,"active":false}`) },
	} {
		t.Run("IN7 without a good "+name, func(t *testing.T) {
			t.Parallel()
			bad := good
			change(&bad)
			_, err := bad.Unsigned()
			wantRule(t, err, name)
		})
	}
	if _, err := u.IDJAG(delegation.IDJAG{ClientID: "there"}); err == nil {
		t.Error("an answer became a grant")
	}
	if _, err := u.TransactionToken(delegation.TransactionToken{Workload: "a"}); err == nil {
		t.Error("an answer became a transaction token")
	}
}

// kinds are one of each kind that is ever signed, all for one audience.
func kinds(t testing.TB, audience string) map[string]delegation.Unsigned {
	t.Helper()
	root := approved(t, audience, nil)
	jag, err := root.IDJAG(delegation.IDJAG{ClientID: "there"})
	if err != nil {
		t.Fatal(err)
	}
	txn, err := root.TransactionToken(delegation.TransactionToken{Workload: "a"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := delegation.Introspection{
		Issuer: delegationtest.IssuerURL, Audience: audience, IssuedAt: noon, Members: []byte(`{"active":true}`),
	}.Unsigned()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]delegation.Unsigned{"access token": root, "ID-JAG": jag, "transaction token": txn, "answer": answer}
}

// TestKindsAreApart: JW4. Each kind is accepted where it belongs, and nowhere else, even with another's typ.
func TestKindsAreApart(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := newVerifier(t, delegation.VerifierConfig{
		Issuer: i.URL(), Audience: domain, Keys: delegation.StaticKeys(i.Keys()), Revocations: delegation.NoRevocations, Now: i.Now,
	})
	for kind, u := range kinds(t, domain) {
		payload, err := u.Payload()
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range []string{delegation.TokenType, delegation.TypeIDJAG, delegation.TypeTransactionToken, delegation.TypeIntrospection, "JWT", ""} {
			token, err := i.Signer().Sign(typ, payload)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(fmt.Sprintf("JW4 %s as %q", kind, typ), func(t *testing.T) {
				t.Parallel()
				_, err := v.Verify(t.Context(), token)
				if accepted := typ == delegation.TokenType && (kind == "access token" || kind == "transaction token"); (err == nil) != accepted {
					t.Errorf("as an access token: %v", err) // its claims are those of one: only the typ tells them apart
				}
				_, err = v.VerifyTransaction(t.Context(), token)
				if accepted := typ == delegation.TypeTransactionToken && kind == "transaction token"; (err == nil) != accepted {
					t.Errorf("as a transaction token: %v", err)
				}
			})
		}
	}
}

// TestFormatsLiveNoLonger: TX22. No kind outlives what it was made of, nor five minutes.
func TestFormatsLiveNoLonger(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		life := time.Duration(rapid.IntRange(1, 3600).Draw(r, "life")) * time.Second
		u := approved(t, domain, func(_ *delegation.Subject, g *delegation.Grant) { g.Life = life })
		jag := must(u.IDJAG(delegation.IDJAG{ClientID: "there"}))
		txn := must(u.TransactionToken(delegation.TransactionToken{Workload: "w"}))
		for _, made := range []delegation.Unsigned{jag, txn} {
			c := made.Claims()
			if c.Expiry.After(u.Claims().Expiry) || c.Expiry.Sub(c.IssuedAt) > 5*time.Minute || !c.Expiry.After(c.IssuedAt) {
				r.Fatalf("%s lives from %s to %s, of %s", made.Type(), c.IssuedAt, c.Expiry, u.Claims().Expiry)
			}
		}
	})
}
