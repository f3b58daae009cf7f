package rar

import (
	"errors"
	"strings"
	"testing"
)

// TestWithin: RA3, RA4, RA8.
func TestWithin(t *testing.T) {
	t.Parallel()
	types := standard(t)
	object := func(fields string) string { return `{"type":"bounty","amount":1` + fields + `}` }
	for _, test := range []struct {
		name, narrow, wide string
		says               string // empty: within
	}{
		{"the same", object(`,"currency":"USD"`), object(`,"currency":"USD"`), ""},
		{"a field more", object(`,"currency":"USD"`), object(``), ""},
		{"RA3 a field less", object(``), object(`,"currency":"USD"`), `object 1, type "bounty", field "currency"`},
		{"RA3 another type", `{"type":"https://acme.example/read"}`, object(``), "the parent has none of that type"},
		{"RA3 another type, which bounds nothing", object(``), `{"type":"https://acme.example/read"}`, "the parent has none of that type"},
		{"equal: another string", object(`,"currency":"EUR"`), object(`,"currency":"USD"`), `field "currency"`},
		{"equal: another boolean", object(`,"urgent":true`), object(`,"urgent":false`), `field "urgent"`},
		{"equal: an object in other order", object(`,"payee":{"tags":[],"name":"a"}`), object(`,"payee":{"name":"a","tags":[]}`), ""},
		{"equal: an object with more", object(`,"payee":{"name":"a","tags":[]}`), object(`,"payee":{"name":"a"}`), `field "payee"`},
		{"equal: an array in other order", object(`,"payee":{"name":"a","tags":["a","b"]}`), object(`,"payee":{"name":"a","tags":["b","a"]}`), `field "payee"`},
		{"RA8 equal: composed and decomposed", object(`,"payee":{"name":"` + "\u00e9" + `"}`), object(`,"payee":{"name":"` + "e\u0301" + `"}`), `field "payee"`},
		{"RA8 equal: upper case", object(`,"payee":{"name":"A"}`), object(`,"payee":{"name":"a"}`), `field "payee"`},
		{"subset: fewer", object(`,"locations":["b"]`), object(`,"locations":["a","b"]`), ""},
		{"subset: none", object(`,"locations":[]`), object(`,"locations":["a","b"]`), ""},
		{"subset: the same in other order", object(`,"locations":["b","a"]`), object(`,"locations":["a","b"]`), ""},
		{"subset: one more", object(`,"locations":["a","c"]`), object(`,"locations":["a","b"]`), `field "locations"`},
		{"subset: numbers are decimals", object(`,"levels":[1.0,2e1]`), object(`,"levels":[20,1]`), ""},
		{"RA8 subset: a slash more", object(`,"locations":["https://a.example/"]`), object(`,"locations":["https://a.example"]`), `field "locations"`},
		{"at_most: less", `{"type":"bounty","amount":0.5}`, object(``), ""},
		{"at_most: the same otherwise written", `{"type":"bounty","amount":0.100e1}`, object(``), ""},
		{"at_most: more", `{"type":"bounty","amount":1.01}`, object(``), `field "amount"`},
		{"at_most: more by less than a float sees", `{"type":"bounty","amount":1.00000000000000000000000000001}`, object(``), `field "amount"`},
		{"at_most: neighbours of one float", object(`,"count":9007199254740993`), object(`,"count":9007199254740992`), `field "count"`},
		{"at_most: negative", object(`,"count":-3`), object(`,"count":-2`), ""},
		{"at_most: less negative", object(`,"count":-1`), object(`,"count":-2`), `field "count"`},
		{"prefix: longer", object(`,"repository":"acme/site"`), object(`,"repository":"acme/"`), ""},
		{"prefix: the same", object(`,"repository":"acme/"`), object(`,"repository":"acme/"`), ""},
		{"prefix: shorter", object(`,"repository":"acme"`), object(`,"repository":"acme/"`), `field "repository"`},
		{"prefix: of a name, not of a folder", object(`,"repository":"acme/bc"`), object(`,"repository":"acme/b"`), ""},
		{"prefix: of nothing", object(`,"repository":"x"`), object(`,"repository":""`), ""},
		{"RA8 prefix: composed and decomposed", object(`,"repository":"` + "e\u0301" + `/x"`), object(`,"repository":"` + "\u00e9" + `"`), `field "repository"`},
		{"one of several", object(``), `{"type":"bounty","amount":0},{"type":"bounty","amount":2}`, ""},
		{"each in its own", `{"type":"bounty","amount":1,"currency":"USD"},{"type":"bounty","amount":2,"currency":"EUR"}`,
			`{"type":"bounty","amount":2,"currency":"EUR"},{"type":"bounty","amount":1,"currency":"USD"}`, ""},
		{"RA3 the second is wider", object(``) + `,{"type":"bounty","amount":3}`, object(``), `object 2, type "bounty", field "amount"`},
		{"RA4 two rights are not joined", `{"type":"bounty","amount":9,"currency":"USD"}`,
			`{"type":"bounty","amount":9,"currency":"EUR"},{"type":"bounty","amount":1,"currency":"USD"}`, "no one of the parent's"},
		{"RA4 two sets are not joined", object(`,"locations":["a","b"]`), object(`,"locations":["a"]`) + `,` + object(`,"locations":["b"]`), "no one of the parent's"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			narrow, wide := parse(t, types, "["+test.narrow+"]"), parse(t, types, "["+test.wide+"]")
			err := narrow.Within(wide)
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && (!errors.Is(err, ErrWider) || !strings.Contains(err.Error(), test.says)):
				t.Errorf("got %v, want %s", err, test.says)
			}
		})
	}
	some := parse(t, types, "["+object(``)+"]")
	if err := some.Within(Details{}); !errors.Is(err, ErrWider) {
		t.Errorf("RA3 within none: %v", err)
	}
	if err := (Details{}).Within(some); err != nil {
		t.Errorf("none within some: %v", err)
	}
}

// TestWithinOtherTypes: RA3. When a type has changed between two hops, the rules of the narrower decide, and what they do not
// know is refused.
func TestWithinOtherTypes(t *testing.T) {
	t.Parallel()
	shape := func(field, schema string, rule Rule) Types {
		return compile(t, Type{Name: "x", Schema: []byte(`{"type":"object","properties":{"` + field + `":` + schema + `}}`), Narrowing: map[string]Rule{field: rule}})
	}
	number, text := shape("a", `{"type":"number"}`, AtMost), shape("a", `{"type":"string"}`, Prefix)
	list, other := shape("a", `{"type":"array","items":{"type":"string"}}`, Subset), shape("b", `{"type":"string"}`, Equal)
	one, name := parse(t, number, `[{"type":"x","a":1}]`), parse(t, text, `[{"type":"x","a":"1"}]`)
	many, none := parse(t, list, `[{"type":"x","a":["1"]}]`), parse(t, other, `[{"type":"x","b":"1"}]`)
	for _, pair := range [][2]Details{{one, name}, {name, one}, {many, one}, {one, many}, {many, name}, {none, one}, {one, none}} {
		if err := pair[0].Within(pair[1]); !errors.Is(err, ErrWider) {
			t.Errorf("%s within %s: %v", pair[0].JSON(), pair[1].JSON(), err)
		}
	}
}
