package rar

import (
	"errors"
	"strings"
	"testing"
)

// TestCover: EX8, RA4. What a detail bounds holds for the arguments of the very call.
func TestCover(t *testing.T) {
	t.Parallel()
	types := standard(t)
	const full = `{"type":"bounty","amount":100,"currency":"USD","repository":"acme/site"}`
	const call = `{"repository":"acme/site","total":{"amount":99.99,"currency":"USD"},"level":1}`
	const inFolder = `[{"type":"bounty","amount":1,"repository":"acme/"}]`
	for _, test := range []struct {
		name, token, tool, args string
		want                    string // the detail of type bounty; or what is said
		refused                 bool
	}{
		{"EX8 within all", "[" + full + "]", "payments.pay", call, full, false},
		{"EX8 just as much", "[" + full + "]", "payments.pay", `{"repository":"acme/site","total":{"amount":1e2,"currency":"USD"}}`, full, false},
		{"EX8 too much", "[" + full + "]", "payments.pay", `{"repository":"acme/site","total":{"amount":100.0001,"currency":"USD"}}`, `field "amount"`, true},
		{"EX8 another repository", "[" + full + "]", "payments.pay", `{"repository":"acme/other","total":{"amount":1,"currency":"USD"}}`, `field "repository"`, true},
		{"EX8 another currency", "[" + full + "]", "payments.pay", `{"repository":"acme/site","total":{"amount":1,"currency":"EUR"}}`, `field "currency"`, true},
		{"EX8 an amount as text", "[" + full + "]", "payments.pay", `{"repository":"acme/site","total":{"amount":"1","currency":"USD"}}`, `field "amount"`, true},
		{"EX8 an amount beyond reading", "[" + full + "]", "payments.pay", `{"repository":"acme/site","total":{"amount":-1e999999999,"currency":"USD"}}`, `field "amount"`, true},
		{"EX8 a list for a text", "[" + full + "]", "payments.pay", `{"repository":["acme/site"],"total":{"amount":1,"currency":"USD"}}`, `field "repository"`, true},
		{"EX8 a missing argument", "[" + full + "]", "payments.pay", `{"total":{"amount":1,"currency":"USD"}}`, `field "repository"`, true},
		{"EX8 a null argument", "[" + full + "]", "payments.pay", `{"repository":null,"total":{"amount":1,"currency":"USD"}}`, `field "repository"`, true},
		{"EX8 an argument in other case", "[" + full + "]", "payments.pay", `{"Repository":"acme/site","total":{"amount":1,"currency":"USD"}}`, `field "repository"`, true},
		{"EX8 an argument twice", "[" + full + "]", "payments.pay", `{"repository":"acme/site","repository":"acme/other","total":{"amount":1,"currency":"USD"}}`, "a name twice", true},
		{"EX8 a value on the way", "[" + full + "]", "payments.pay", `{"repository":"acme/site","total":1}`, `field "amount"`, true},
		{"EX8 no arguments", "[" + full + "]", "payments.pay", ``, `field "amount"`, true},
		{"EX8 arguments that are no object", "[" + full + "]", "payments.pay", `[]`, "no JSON object", true},
		{"EX8 unbounded where it has no field", `[{"type":"bounty","amount":1}]`, "payments.pay", `{"total":{"amount":1}}`, `{"type":"bounty","amount":1}`, false},
		{"EX8 the token has none", ``, "payments.pay", call, `it needs one of type "bounty", and the token has none`, true},
		{"EX8 the token has none of the type", `[{"type":"https://acme.example/read"}]`, "payments.pay", call, "the token has none", true},
		{"EX8 a token that does not read", `[{"type":"gone"}]`, "payments.pay", call, "there is no such type", true},
		{"EX8 a tool in other case is not governed", ``, "Payments.pay", call, "", false},
		{"EX8 one of a set", `[{"type":"bounty","amount":1,"levels":[1,2]}]`, "payments.pay", `{"total":{"amount":0},"level":2.0}`, `{"type":"bounty","amount":1,"levels":[1,2]}`, false},
		{"EX8 several of a set", `[{"type":"bounty","amount":1,"levels":[1,2]}]`, "payments.pay", `{"total":{"amount":0},"level":[2,1]}`, `{"type":"bounty","amount":1,"levels":[1,2]}`, false},
		{"EX8 beyond a set", `[{"type":"bounty","amount":1,"levels":[1,2]}]`, "payments.pay", `{"total":{"amount":0},"level":[2,3]}`, `field "levels"`, true},
		{"EX8 an empty list, which filters nothing", `[{"type":"bounty","amount":1,"levels":[1,2]}]`, "payments.pay", `{"total":{"amount":0},"level":[]}`, `field "levels"`, true},
		{"EX8 a way out of a folder", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/../globex/site"}`, `field "repository"`, true},
		{"EX8 a way out of a folder, at the end", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/.."}`, `field "repository"`, true},
		{"EX8 a way out of a folder, backwards", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/a\\..\\..\\globex"}`, `field "repository"`, true},
		{"EX8 a way out of a folder, encoded", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/%2e.%2Fglobex"}`, `field "repository"`, true},
		{"EX8 a way out of a folder, encoded twice", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/%252e%252E/globex"}`, `field "repository"`, true},
		{"EX8 a way out of a folder, with a parameter", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/..;v=1/globex"}`, `field "repository"`, true},
		{"EX8 encoded too often", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/%25252525252e./globex"}`, `field "repository"`, true},
		{"EX8 dots in a name", inFolder, "payments.pay", `{"total":{"amount":0},"repository":"acme/..site/v1..v2/100%"}`, `{"type":"bounty","amount":1,"repository":"acme/"}`, false},
		{"EX8 nothing is in an empty set", `[{"type":"bounty","amount":1,"levels":[]}]`, "payments.pay", `{"total":{"amount":0},"level":1}`, `field "levels"`, true},
		{"EX8 an object, equal", `[{"type":"bounty","amount":1,"payee":{"name":"a","tags":["x"]}}]`, "payments.pay", `{"total":{"amount":0},"payee":{"tags":["x"],"name":"a"}}`,
			`{"type":"bounty","amount":1,"payee":{"name":"a","tags":["x"]}}`, false},
		{"EX8 an object with more", `[{"type":"bounty","amount":1,"payee":{"name":"a"}}]`, "payments.pay", `{"total":{"amount":0},"payee":{"name":"a","tags":[]}}`, `field "payee"`, true},
		{"EX8 a place in an array", `[{"type":"bounty","amount":1,"urgent":true}]`, "payments.label", `{"flags":[false,true]}`, `{"type":"bounty","amount":1,"urgent":true}`, false},
		{"EX8 a place behind an array", `[{"type":"bounty","amount":1,"urgent":true}]`, "payments.label", `{"flags":[true]}`, `field "urgent"`, true},
		{"EX8 the first that covers", `[{"type":"bounty","amount":1},{"type":"bounty","amount":3},` + `{"type":"bounty","amount":2}]`, "payments.pay", `{"total":{"amount":2}}`,
			`{"type":"bounty","amount":3}`, false},
		{"RA4 two rights are not joined", `[{"type":"bounty","amount":100,"currency":"EUR"},{"type":"bounty","amount":1,"currency":"USD"}]`, "payments.pay",
			`{"total":{"amount":50,"currency":"USD"}}`, "none of the token's alone covers", true},
		{"RA4 two sets are not joined", `[{"type":"bounty","amount":1,"levels":[1]},{"type":"bounty","amount":1,"levels":[2]}]`, "payments.pay",
			`{"total":{"amount":1},"level":[1,2]}`, "none of the token's alone covers", true},
		{"RA8 composed and decomposed", `[{"type":"bounty","amount":1,"repository":"` + "\u00e9" + `"}]`, "payments.pay",
			`{"total":{"amount":1},"repository":"` + "e\u0301" + `"}`, `field "repository"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := types.Cover([]byte(test.token), test.tool, []byte(test.args))
			if test.refused {
				if !errors.Is(err, ErrNotCovered) || got != nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, %v; want %s", got, err, test.want)
				}
				return
			}
			if err != nil || string(got["bounty"].JSON) != test.want {
				t.Errorf("got %s, %v; want %s", got["bounty"].JSON, err, test.want)
			}
		})
	}
	if _, err := types.Cover([]byte(`[{"type":"gone"}]`), "payments.pay", []byte(call)); !errors.Is(err, ErrDetails) {
		t.Errorf("a token that does not read: %v", err)
	}
	large := `{"repository":"` + strings.Repeat("x", maxArguments) + `"}`
	if _, err := types.Cover([]byte("["+full+"]"), "payments.pay", []byte(large)); !errors.Is(err, ErrNotCovered) {
		t.Errorf("large arguments: %v", err)
	}
}

// TestCoverByEveryType: EX8. A tool that two types govern needs a detail of each.
func TestCoverByEveryType(t *testing.T) {
	t.Parallel()
	both := read()
	both.Covers = append(both.Covers, Cover{Tool: "payments.pay", Arguments: map[string]string{"paths": "/repository"}})
	types := compile(t, both, bounty())
	const call = `{"repository":"a","total":{"amount":1}}`
	const one, two = `{"type":"bounty","amount":1}`, `{"type":"https://acme.example/read","paths":["a"]}`
	got, err := types.Cover([]byte("["+one+","+two+"]"), "payments.pay", []byte(call))
	if err != nil || len(got) != 2 || string(got["bounty"].JSON) != one || string(got["https://acme.example/read"].JSON) != two {
		t.Errorf("%v, %v", got, err)
	}
	for missing, token := range map[string]string{"bounty": "[" + two + "]", "https://acme.example/read": "[" + one + "]"} {
		if _, err := types.Cover([]byte(token), "payments.pay", []byte(call)); !errors.Is(err, ErrNotCovered) || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	if got, err := types.Cover([]byte("["+two+"]"), "files.read", []byte(`{"a/b":{"~path":"a"}}`)); err != nil || len(got) != 1 {
		t.Errorf("an escaped pointer: %v, %v", got, err)
	}
	if !types.Governs("files.read") || types.Governs("files") || (Types{}).Governs("files.read") {
		t.Error("Governs")
	}
}

// TestPointer follows JSON pointers as RFC 6901 wants it: an index is digits without a leading zero, "-" is none.
func TestPointer(t *testing.T) {
	t.Parallel()
	args, err := readArguments([]byte(`{"a":["x","y",{"b/c":"z","~":"w","":"v"}],"o":{"0":"u"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for pointer, want := range map[string]string{
		"/a/1": `"y"`, "/a/01": "", "/a/+1": "", "/a/-": "", "/a/3": "", "/a/-1": "", "/a/1/0": "", "/a/4294967297": "",
		"/a/2/b~1c": `"z"`, "/a/2/~0": `"w"`, "/a/2/": `"v"`, "/o/0": `"u"`, "/": "", "/A": "",
	} {
		parts, err := splitPointer(pointer)
		if err != nil {
			t.Errorf("%s: %v", pointer, err)
		}
		v, ok := args.at(parts)
		if ok != (want != "") || (ok && string(v.append(nil)) != want) {
			t.Errorf("%s: %s %v, want %s", pointer, v.append(nil), ok, want)
		}
	}
}
