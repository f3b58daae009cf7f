package delegation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
)

// bindings are none, keys of both kinds that may have one thumbprint, and what is no binding.
func bindings() *rapid.Generator[*delegation.Confirmation] {
	other := strings.Repeat("A", 43)
	return rapid.Custom(func(t *rapid.T) *delegation.Confirmation {
		k := rapid.SampledFrom([]delegation.Confirmation{
			{}, {}, {}, {JKT: jkt}, {JKT: jkt}, {JKT: other}, {X5T: x5t}, {X5T: other}, {JKT: jkt, X5T: x5t}, {X5T: "x"},
		}).Draw(t, "key")
		if k == (delegation.Confirmation{}) {
			return nil
		}
		return &k
	})
}

// details are the zero Details, some that were read and of which none is left, or a few payments.
func (w *walk) details(t *rapid.T) rar.Details {
	object := rapid.Custom(func(t *rapid.T) string {
		text := fmt.Sprintf(`{"type":"payment","amount":%d`, rapid.IntRange(0, 4).Draw(t, "amount"))
		if rapid.Bool().Draw(t, "in a currency") {
			text += `,"currency":"` + rapid.SampledFrom([]string{"USD", "EUR"}).Draw(t, "currency") + `"`
		}
		if rapid.Bool().Draw(t, "of accounts") {
			accounts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 1, 2).Draw(t, "accounts")
			text += `,"accounts":["` + strings.Join(accounts, `","`) + `"]`
		}
		return text + "}"
	})
	switch rapid.IntRange(0, 3).Draw(t, "details") {
	case 0:
		return rar.Details{}
	case 1:
		return must(w.types.Parse([]byte(`[{"type":"payment"}]`))).Keep(func(rar.Detail) bool { return false })
	}
	return must(w.types.Parse([]byte("[" + strings.Join(rapid.SliceOfN(object, 1, 3).Draw(t, "objects"), ",") + "]")))
}

// makeLawful makes it likely that the parent allows the grant, by binding and by details.
func (w *walk) makeLawful(t *rapid.T, p delegation.Claims, g *delegation.Grant) {
	if k := p.Confirmation; k != nil && (g.Actor == p.Actor.Subject || !bindable(p, *g)) {
		g.Confirmation = k
	} else if !bindable(p, *g) {
		g.Confirmation = nil
	}
	if within(p, *g) {
		return
	}
	g.Details = rar.Details{}
	if p.AuthorizationDetails != nil && rapid.Bool().Draw(t, "name some of the parent's") {
		all := must(w.types.Parse(p.AuthorizationDetails))
		n := rapid.IntRange(0, len(all.List())-1).Draw(t, "which")
		one := string(all.List()[n].JSON)
		g.Details = all.Keep(func(d rar.Detail) bool { return string(d.JSON) == one })
	}
}

// bindable is the law of bindings once more: exactly one well-formed key or none; none only of none; and the same actor keeps
// the very key.
func bindable(p delegation.Claims, g delegation.Grant) bool {
	if g.Confirmation == nil {
		return p.Confirmation == nil
	}
	if k := *g.Confirmation; k.JKT+k.X5T == "x" || k.JKT != "" && k.X5T != "" {
		return false
	}
	return p.Confirmation == nil || g.Actor != p.Actor.Subject || *p.Confirmation == *g.Confirmation
}

// paymentOf is one object, as plain JSON.
type paymentOf struct {
	Amount   *int
	Currency *string
	Accounts []string
}

func payments(raw []byte) []paymentOf {
	var out []paymentOf
	if raw != nil {
		if err := json.Unmarshal(raw, &out); err != nil {
			panic(err) // what package rar wrote
		}
	}
	return out
}

// inside is the law of one object within one other, once more.
func (c paymentOf) inside(p paymentOf) bool {
	return (p.Amount == nil || c.Amount != nil && *c.Amount <= *p.Amount) &&
		(p.Currency == nil || c.Currency != nil && *c.Currency == *p.Currency) &&
		(p.Accounts == nil || c.Accounts != nil && !slices.ContainsFunc(c.Accounts, func(a string) bool { return !slices.Contains(p.Accounts, a) }))
}

// within is the law of details once more: each named within one of the parent's.
func within(p delegation.Claims, g delegation.Grant) bool {
	return allInside(p.AuthorizationDetails, g.Details.JSON())
}

func allInside(parent, child []byte) bool {
	wide := payments(parent)
	return !slices.ContainsFunc(payments(child), func(c paymentOf) bool {
		return !slices.ContainsFunc(wide, c.inside)
	})
}

// narrowerDetails fails unless the child's details are the parent's to the byte, or what the grant named within them.
func narrowerDetails(t *rapid.T, p, c delegation.Claims, g delegation.Grant) {
	if !allInside(p.AuthorizationDetails, c.AuthorizationDetails) {
		t.Fatalf("details %s are not within %s", c.AuthorizationDetails, p.AuthorizationDetails)
	}
	want := g.Details.JSON()
	if named := len(g.Details.Types().Names()) > 0; !named {
		want = p.AuthorizationDetails
	}
	if string(c.AuthorizationDetails) != string(want) || (c.AuthorizationDetails == nil) != (want == nil) {
		t.Fatalf("details %s, want %s", c.AuthorizationDetails, want)
	}
}
