package delegation_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
)

// payment is a type with a rule of each kind that matters to the law: how fields compare is for package rar to test.
func payment(t testing.TB) rar.Types {
	t.Helper()
	types, err := rar.Compile([]rar.Type{{
		Name: "payment",
		Schema: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"amount":{"type":"integer"},
			"currency":{"type":"string"},"accounts":{"type":"array","items":{"type":"string"}}}}`),
		Narrowing: map[string]rar.Rule{"amount": rar.AtMost, "currency": rar.Equal, "accounts": rar.Subset},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func details(t testing.TB, raw string) rar.Details {
	t.Helper()
	d, err := payment(t).Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const (
	hundred = `[{"type":"payment","amount":100,"currency":"USD"}]`
	ten     = `[{"type":"payment","amount":10,"currency":"USD"}]`
)

// TestDetailsOfARoot: RA2, RA3: a first token carries what was granted, and nothing when nothing was.
func TestDetailsOfARoot(t *testing.T) {
	t.Parallel()
	for raw, granted := range map[string]rar.Details{hundred: details(t, hundred), "": {}} {
		g := rootGrant(t)
		g.Details = granted
		u, err := delegation.Root(alice(), g)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := payment(t).Parse([]byte(hundred)); raw != "" && (err != nil || string(u.Claims().AuthorizationDetails) != string(want.JSON())) {
			t.Errorf("%s, %v", u.Claims().AuthorizationDetails, err)
		}
		if raw == "" && u.Claims().AuthorizationDetails != nil {
			t.Errorf("out of nothing: %s", u.Claims().AuthorizationDetails)
		}
	}
}

// TestDetailsOfAChild: RA3, RA4: never wider than the parent's, one object within one object.
func TestDetailsOfAChild(t *testing.T) {
	t.Parallel()
	none := details(t, hundred).Keep(func(rar.Detail) bool { return false })
	const both = `[{"type":"payment","amount":100,"currency":"USD"},{"type":"payment","amount":10,"currency":"EUR"}]`
	for name, c := range map[string]struct {
		parent string
		grant  rar.Details
		want   string // "refused", or the child's
	}{
		"RA3 the same":                         {hundred, details(t, hundred), `"amount":100`},
		"RA3 less":                             {hundred, details(t, ten), `"amount":10,`},
		"RA3 more":                             {ten, details(t, hundred), "refused"},
		"RA3 another currency":                 {hundred, details(t, strings.Replace(ten, "USD", "EUR", 1)), "refused"},
		"RA3 a bound left out":                 {hundred, details(t, `[{"type":"payment","amount":10}]`), "refused"},
		"RA3 a bound more":                     {hundred, details(t, strings.Replace(ten, `"amount"`, `"accounts":["a"],"amount"`, 1)), `"accounts":["a"]`},
		"RA3 one of two":                       {both, details(t, ten), `"amount":10,`},
		"RA3 two of two":                       {both, details(t, both), `"EUR"`},
		"RA3 one within, one not":              {hundred, details(t, both), "refused"},
		"RA4 two are not joined":               {both, details(t, `[{"type":"payment","amount":100,"currency":"EUR"}]`), "refused"},
		"RA3 of a parent that has none":        {"", details(t, ten), "refused"},
		"RA3 of a type that the org removed":   {`[{"type":"gone","amount":10}]`, details(t, ten), "refused"},
		"RA3 that the org's schema now refuse": {`[{"type":"payment","amount":"10"}]`, details(t, ten), "refused"},
		"RA3 not named":                        {hundred, rar.Details{}, hundred},
		"RA3 not named, and removed":           {`[{"type":"gone","n":1.50}]`, rar.Details{}, `[{"type":"gone","n":1.50}]`},
		"RA3 all taken away":                   {hundred, none, ""},
		"RA6 all taken away, and removed":      {`[{"type":"gone"}]`, none, ""},
		"RA3 nothing of nothing":               {"", rar.Details{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := newIssuer(t).Verified(t, func(p *delegation.Claims) {
				if c.parent != "" {
					p.AuthorizationDetails = []byte(c.parent)
				}
			})
			g := childOf(t)
			g.Details = c.grant
			u, err := parent.Delegate(g)
			if c.want == "refused" {
				wantRule(t, err, delegation.RuleDetails)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := string(u.Claims().AuthorizationDetails)
			if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestDetailsDoNotGrow: RA3: details that the law wrote are read again by the same types, hop by hop.
func TestDetailsDoNotGrow(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	g := rootGrant(t)
	g.Details = details(t, hundred)
	v := root(t, i, g)
	for n, amount := range []int{100, 60, 60, 7} {
		h := childGrant(t)
		h.Actor, h.ID, h.Now = fmt.Sprintf("agent:acme/a%d", n), fmt.Sprintf("h%d", n), noon
		h.Details = details(t, fmt.Sprintf(`[{"type":"payment","amount":%d,"currency":"USD"}]`, amount))
		u, err := v.Delegate(h)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = i.Verifier(t, "").Verify(t.Context(), i.Mint(t, u)); err != nil {
			t.Fatal(err)
		}
	}
	h := childGrant(t)
	h.Now = noon
	h.Details = details(t, `[{"type":"payment","amount":8,"currency":"USD"}]`)
	_, err := v.Delegate(h)
	wantRule(t, err, delegation.RuleDetails)
}
