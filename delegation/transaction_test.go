package delegation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// TestTransactionToken: TT1, TT2, TT6.
func TestTransactionToken(t *testing.T) {
	t.Parallel()
	u, err := approved(t, domain, func(_ *delegation.Subject, g *delegation.Grant) {
		g.Confirmation = &delegation.Confirmation{JKT: jkt}
		g.MayAct = delegation.AgentID("acme", "courier")
	}).TransactionToken(delegation.TransactionToken{Workload: "agent:acme/a", Context: []byte(`{"b":1,"a":"\u0061"}`), Details: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	if u.Type() != "txntoken+jwt" {
		t.Errorf("typ %q", u.Type())
	}
	m := members(t, u)
	for _, required := range []string{"iat", "aud", "exp", "txn", "sub", "scope", "req_wl", "iss", "act"} {
		if m[required] == nil {
			t.Errorf("no %s", required)
		}
	}
	for _, refused := range []string{"cnf", "may_act", "azd", "purp", "purpose"} {
		if m[refused] != nil {
			t.Errorf("%s", refused)
		}
	}
	if u.Claims().Confirmation != nil || u.Claims().MayAct != nil {
		t.Error("the claims say more than the token")
	}
}

// TestTransactionTokenRefuses: TT2, TT3.
func TestTransactionTokenRefuses(t *testing.T) {
	t.Parallel()
	good := approved(t, domain, nil)
	for name, c := range map[string]struct {
		with delegation.TransactionToken
		rule string
	}{
		"no workload":        {delegation.TransactionToken{}, "req_wl"},
		"two workloads":      {delegation.TransactionToken{Workload: "a,b"}, "req_wl"},
		"rctx no object":     {delegation.TransactionToken{Workload: "a", Context: []byte(`[]`)}, "rctx"},
		"rctx a name twice":  {delegation.TransactionToken{Workload: "a", Context: []byte(`{"a":1,"a":1}`)}, "rctx"},
		"tctx null":          {delegation.TransactionToken{Workload: "a", Details: []byte(`null`)}, "tctx"},
		"tctx empty":         {delegation.TransactionToken{Workload: "a", Details: []byte{}}, "tctx"},
		"tctx too long":      {delegation.TransactionToken{Workload: "a", Details: []byte(`{"a":"` + strings.Repeat("x", 4<<10) + `"}`)}, "tctx"},
		"more than a token":  {long("tctx", "rctx"), delegation.RuleSize},
		"tctx not all there": {delegation.TransactionToken{Workload: "a", Details: []byte(`{"a":`)}, "tctx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := good.TransactionToken(c.with)
			wantRule(t, err, c.rule)
		})
	}
	_, err := delegation.Unsigned{}.TransactionToken(delegation.TransactionToken{Workload: "a"})
	wantRule(t, err, delegation.RuleFormat)
}

func long(a, b string) delegation.TransactionToken {
	text := func(s string) []byte { return []byte(`{"` + s + `":"` + strings.Repeat("x", 4000) + `"}`) }
	return delegation.TransactionToken{Workload: "a", Details: text(a), Context: text(b)}
}

type revokesTransaction string

func (r revokesTransaction) Check(c *delegation.Claims, _ time.Time) error {
	if c.Transaction == string(r) {
		return delegation.ErrRevoked
	}
	return nil
}

func (r revokesTransaction) CheckKey(string, time.Time) error { return nil }

// TestVerifyTransactionRefuses: TT4, TT5. A transaction token is held to the rules of an access token.
func TestVerifyTransactionRefuses(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	config := delegation.VerifierConfig{
		Issuer: i.URL(), Audience: domain, Keys: delegation.StaticKeys(i.Keys()), Revocations: delegation.NoRevocations, Now: i.Now,
	}
	u := kinds(t, domain)["transaction token"]
	payload := must(u.Payload())
	token := must(i.Signer().Sign(u.Type(), payload))
	for name, c := range map[string]struct {
		token  string
		change func(*delegation.VerifierConfig)
		want   error
	}{
		"another audience": {token, func(c *delegation.VerifierConfig) { c.Audience = "globex.internal" }, delegation.ErrAudience},
		"another issuer":   {token, func(c *delegation.VerifierConfig) { c.Issuer = "https://other.test" }, delegation.ErrIssuer},
		"expired":          {token, func(c *delegation.VerifierConfig) { c.Now = func() time.Time { return noon.Add(time.Hour) } }, delegation.ErrExpired},
		"of the future": {token, func(c *delegation.VerifierConfig) { c.Now = func() time.Time { return noon.Add(-time.Hour) } },
			delegation.ErrNotYetValid},
		"revoked":           {token, func(c *delegation.VerifierConfig) { c.Revocations = revokesTransaction(u.Claims().Transaction) }, delegation.ErrRevoked},
		"signed by another": {must(newIssuer(t).Signer().Sign(u.Type(), payload)), nil, delegation.ErrUnknownKey},
		"too long":          {strings.Repeat("a", delegation.MaxTokenSize+1), nil, delegation.ErrMalformed},
		"no JWT":            {"a.b", nil, delegation.ErrMalformed},
		"without req_wl":    {must(i.Signer().Sign(u.Type(), must(kinds(t, domain)["access token"].Payload()))), nil, delegation.ErrClaims},
	} {
		t.Run("TT5 "+name, func(t *testing.T) {
			t.Parallel()
			config := config
			if c.change != nil {
				c.change(&config)
			}
			if _, err := newVerifier(t, config).VerifyTransaction(t.Context(), c.token); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// TestReplacementNarrows: TT5, TX22. Whatever is asked for, a replacement says the same of who and why, is no wider, and lives
// no longer; and what would is refused.
func TestReplacementNarrows(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	var now time.Time
	v := newVerifier(t, delegation.VerifierConfig{
		Issuer: i.URL(), Audience: domain, Keys: delegation.StaticKeys(i.Keys()), Revocations: delegation.NoRevocations,
		Now: func() time.Time { return now },
	})
	rapid.Check(t, func(r *rapid.T) {
		now = noon
		scope := scopesGen().Filter(func(s delegation.Scopes) bool { return !s.Empty() }).Draw(r, "scope")
		root := approved(t, domain, func(_ *delegation.Subject, g *delegation.Grant) { g.Scope = scope })
		u := must(root.TransactionToken(delegation.TransactionToken{Workload: "w0", Details: []byte(`{"amount":1}`), Context: []byte(`{"ip":"x"}`)}))
		for n := range rapid.IntRange(1, 5).Draw(r, "replacements") {
			before, err := v.VerifyTransaction(context.Background(), must(i.Signer().Sign(u.Type(), must(u.Payload()))))
			if err != nil {
				r.Fatalf("what was made does not verify: %v", err)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(r, "seconds")) * time.Second)
			asked := delegation.Replacement{
				Org: rapid.SampledFrom([]delegation.OrgID{"acme", "acme", "acme", "globex"}).Draw(r, "org"), Workload: fmt.Sprintf("w%d", n+1),
				Scope: scopesGen().Draw(r, "scope"), ID: fmt.Sprintf("r%d", n),
				Now:  now,
				Life: time.Duration(rapid.IntRange(0, 600).Draw(r, "life")) * time.Second,
			}
			p := before.Claims()
			lawful := asked.Org == "acme" && !asked.Scope.Empty() && asked.Scope.SubsetOf(p.Scope) && asked.Now.Before(p.Expiry) && asked.Life > 0
			next, err := before.Replace(asked)
			if (err == nil) != lawful {
				r.Fatalf("lawful %v, %v", lawful, err)
			}
			if err != nil {
				return
			}
			replaces(r, before, next, asked)
			u = next
		}
	})
}

func replaces(r *rapid.T, before delegation.Transaction, u delegation.Unsigned, asked delegation.Replacement) {
	p, c := before.Claims(), u.Claims()
	if c.Expiry.After(p.Expiry) || c.Expiry.After(asked.Now.Add(asked.Life)) || !c.Scope.Equal(asked.Scope) {
		r.Fatalf("wider: %v of %v", c, p)
	}
	if !slices.Equal(c.Lineage, append(p.Lineage, p.ID)) || c.ID != asked.ID {
		r.Fatalf("lineage %v of %v, id %s", c.Lineage, p.Lineage, c.ID)
	}
	c.Expiry, c.IssuedAt, c.Scope, c.ID, c.Lineage = p.Expiry, p.IssuedAt, p.Scope, p.ID, p.Lineage
	if diff := cmp.Diff(p, c, cmp.Comparer(delegation.Scopes.Equal)); diff != "" {
		r.Fatalf("it says something else: %s", diff)
	}
	var m struct {
		Workloads string          `json:"req_wl"`
		Details   json.RawMessage `json:"tctx"`
		Context   json.RawMessage `json:"rctx"`
	}
	if err := jose.Decode(must(u.Payload()), &m); err != nil {
		r.Fatal(err)
	}
	if m.Workloads != strings.Join(append(before.Workloads(), asked.Workload), ",") ||
		string(m.Details) != string(before.Details()) || string(m.Context) != string(before.Context()) {
		r.Fatalf("%+v", m)
	}
}

// TestZeroTransaction: TT5. Nothing that was not verified is replaced.
func TestZeroTransaction(t *testing.T) {
	t.Parallel()
	var none delegation.Transaction
	_, err := none.Replace(delegation.Replacement{Org: "acme", Workload: "w", Scope: scopes(t, "a"), ID: "r", Now: noon, Life: time.Minute})
	wantRule(t, err, delegation.RuleUnverified)
	if none.Workloads() != nil || none.Claims().Subject != "" || none.Details() != nil || none.Context() != nil {
		t.Error("the zero Transaction says something")
	}
}
