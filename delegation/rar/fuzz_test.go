package rar

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: RA1, RA2. Whatever comes is refused with a short, safe text, or has one canonical form that reads as itself.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		``, `[]`, `[{}]`, `[{"type":"bounty","amount":1}]`, `[{"type":"bounty","amount":1e2,"levels":[2,1.0,1]},{"type":"https://acme.example/read"}]`,
		`[{"type":"bounty","amount":1,"payee":{"name":"\ud83d\ude00"},"locations":["a","a"]}]`, `[{"type":"bounty","amount":1e999999}]`,
		`[{"type":"bounty","type":"bounty"}]`, `[{"type":"nope"}]`, `[{"type":"bounty","amount":1,"more":null}]`,
	} {
		f.Add([]byte(text))
	}
	types := standard(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := types.Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrDetails) || !d.Empty() || len(err.Error()) > 1000 || !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("%v: %q", d.List(), err)
			}
			return
		}
		text := d.JSON()
		again, err := types.Parse(text)
		if err != nil || string(again.JSON()) != string(text) {
			t.Fatalf("%q\nreads as %q: %v", text, again.JSON(), err)
		}
		if len(text) > MaxSize || len(d.List()) > MaxCount || d.Within(again) != nil || again.Within(d) != nil {
			t.Fatalf("%q", text)
		}
	})
}

// FuzzCover: EX8. Arguments that nobody has checked never make more of a token than it is.
func FuzzCover(f *testing.F) {
	for _, text := range []string{``, `{}`, `{"total":{"amount":1}}`, `{"repository":"acme/x","total":{"amount":100.000,"currency":"USD"}}`, `{"total":{"amount":1e400}}`, `[1]`} {
		f.Add([]byte(text))
	}
	types := standard(f)
	const wide, small = `[{"type":"bounty","amount":100,"currency":"USD"}]`, `[{"type":"bounty","amount":1,"currency":"USD","repository":"acme/"}]`
	f.Fuzz(func(t *testing.T, args []byte) {
		got, err := types.Cover([]byte(small), "payments.pay", args)
		if (err == nil) != (len(got) == 1) || (err != nil && !errors.Is(err, ErrNotCovered)) {
			t.Fatalf("%v, %v", got, err)
		}
		if _, wideErr := types.Cover([]byte(wide), "payments.pay", args); err == nil && wideErr != nil {
			t.Fatalf("%q: the narrower covers it, the wider does not: %v", args, wideErr)
		}
	})
}
