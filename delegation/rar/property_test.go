package rar

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Few values, so that one is often within another.
var fieldValues = map[string][]string{
	"locations":  {`[]`, `["a"]`, `["b"]`, `["a","b"]`, `["b","a","a"]`},
	"levels":     {`[]`, `[1]`, `[1.0,2]`, `[20e-1]`, `[1,2,3]`},
	"repository": {`""`, `"a"`, `"a/"`, `"a/b"`, `"b"`, `"\u0061/"`},
	"count":      {`-1`, `0`, `1`, `9007199254740992`, `9007199254740993`},
	"currency":   {`"USD"`, `"EUR"`},
	"payee":      {`{"name":"a"}`, `{"name":"a","tags":["x","y"]}`, `{"tags":["y","x"],"name":"a"}`, `{"tags":["x","y"],"name":"a"}`},
}

var amounts = []string{`0`, `0.5`, `1`, `1.0`, `1e1`, `10.01`, `10`, `9999.9999999999999999999`}

// drawObject draws an object of a type that registers a few times under two names.
func drawObject(t *rapid.T) string {
	typ := rapid.SampledFrom([]string{"bounty", "bounty", "bounty", "other"}).Draw(t, "type")
	parts := []string{fmt.Sprintf(`"type":%q`, typ), `"amount":` + rapid.SampledFrom(amounts).Draw(t, "amount")}
	for _, field := range []string{"locations", "levels", "repository", "count", "currency", "payee"} {
		if values := fieldValues[field]; rapid.IntRange(0, 2).Draw(t, "has "+field) == 0 {
			parts = append(parts, fmt.Sprintf("%q:%s", field, rapid.SampledFrom(values).Draw(t, field)))
		}
	}
	return "{" + strings.Join(rapid.Permutation(parts).Draw(t, "order"), ",") + "}"
}

func drawDetails(t *rapid.T, types Types, most int) Details {
	objects := rapid.SliceOfN(rapid.Custom(drawObject), 1, most).Draw(t, "details")
	d, err := types.Parse([]byte("[" + strings.Join(objects, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// drawWithin draws details each of which is within one of the parent's: the law must say so.
func drawWithin(t *rapid.T, types Types, parent Details) Details {
	var out []string
	for _, o := range rapid.SliceOfN(rapid.SampledFrom(parent.list), 1, 3).Draw(t, "of the parent") {
		fields := []string{fmt.Sprintf(`"type":%q`, o.typ)}
		for _, m := range o.fields.members {
			v := m.value
			switch types.byName[o.typ].rules[m.name] {
			case Subset:
				v.items = slices.DeleteFunc(slices.Clone(v.items), func(value) bool { return rapid.Bool().Draw(t, "drop") })
			case AtMost:
				if n := rapid.SampledFrom([]int64{0, 1}).Draw(t, "less"); m.name == "amount" && n == 1 {
					v = value{kind: kindNumber, text: "0"}
				}
			case Prefix:
				v.text += rapid.SampledFrom([]string{"", "/", "x/y"}).Draw(t, "longer")
			case Equal:
			}
			fields = append(fields, fmt.Sprintf("%q:%s", m.name, v.append(nil)))
		}
		if _, ok := o.fields.member("urgent"); !ok && rapid.Bool().Draw(t, "one more") {
			fields = append(fields, `"urgent":true`)
		}
		out = append(out, "{"+strings.Join(fields, ",")+"}")
	}
	d, err := types.Parse([]byte("[" + strings.Join(out, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func propertyTypes(t testing.TB) Types {
	other := bounty()
	other.Name = "other"
	return compile(t, bounty(), other)
}

// TestWithinIsAnOrder: RA3, RA4. Within is reflexive and transitive, and two objects that are within each other have one
// canonical form.
func TestWithinIsAnOrder(t *testing.T) {
	t.Parallel()
	types := propertyTypes(t)
	rapid.Check(t, func(t *rapid.T) {
		a := drawDetails(t, types, 4)
		if err := a.Within(a); err != nil {
			t.Fatalf("not within itself: %v", err)
		}
		b := drawWithin(t, types, a)
		c := drawWithin(t, types, b)
		if b.Within(a) != nil || c.Within(b) != nil || c.Within(a) != nil {
			t.Fatalf("%s\nof %s\nof %s", c.JSON(), b.JSON(), a.JSON())
		}
		x, y, z := drawDetails(t, types, 2), drawDetails(t, types, 2), drawDetails(t, types, 2)
		if x.Within(y) == nil && y.Within(z) == nil && x.Within(z) != nil {
			t.Fatalf("%s\nwithin %s\nwithin %s, and not transitive", x.JSON(), y.JSON(), z.JSON())
		}
		one, two := drawDetails(t, types, 1), drawDetails(t, types, 1)
		mutual := one.Within(two) == nil && two.Within(one) == nil
		if same := string(one.JSON()) == string(two.JSON()); same != mutual {
			t.Fatalf("%s and %s: the same %v, within each other %v", one.JSON(), two.JSON(), same, mutual)
		}
	})
}

// TestCanonicalIsFixed: RA8. What is written reads as itself, whatever the order and the spelling that it came in.
func TestCanonicalIsFixed(t *testing.T) {
	t.Parallel()
	types := propertyTypes(t)
	rapid.Check(t, func(t *rapid.T) {
		d := drawDetails(t, types, 4)
		again, err := types.Parse(d.JSON())
		if err != nil || string(again.JSON()) != string(d.JSON()) {
			t.Fatalf("%s read as %s: %v", d.JSON(), again.JSON(), err)
		}
		if again.Within(d) != nil || d.Within(again) != nil {
			t.Fatalf("%s is not within itself", d.JSON())
		}
	})
}

// narrow keeps of x what is within a: what an exchange grants of what was asked for.
func narrow(x, a Details) Details {
	return x.keep(func(o object) bool { return Details{x.types, []object{o}}.Within(a) == nil })
}

// TestNarrowing: RA4. narrow(narrow(x, a), b) is within x, a and b, and so is all that is kept for a resource.
func TestNarrowing(t *testing.T) {
	t.Parallel()
	types := propertyTypes(t)
	rapid.Check(t, func(t *rapid.T) {
		x, a, b := drawDetails(t, types, 5), drawDetails(t, types, 3), drawDetails(t, types, 3)
		if rapid.Bool().Draw(t, "near") { // so that something is left
			x = drawWithin(t, types, a)
			b = drawDetails(t, types, 3)
			b.list = append(b.list, x.list[0])
		}
		for _, got := range []Details{narrow(narrow(x, a), b), narrow(narrow(x, a), b).At("a")} {
			for name, bound := range map[string]Details{"x": x, "a": a, "b": b} {
				if err := got.Within(bound); err != nil {
					t.Fatalf("%s is not within %s, %s: %v", got.JSON(), name, bound.JSON(), err)
				}
			}
		}
	})
}

// drawCall draws arguments of payments.pay, near what details allow.
func drawCall(t *rapid.T) []byte {
	call := map[string]json.RawMessage{}
	pick := func(field, argument string) {
		if rapid.IntRange(0, 3).Draw(t, "has "+argument) > 0 {
			call[argument] = json.RawMessage(rapid.SampledFrom(fieldValues[field]).Draw(t, argument))
		}
	}
	pick("repository", "repository")
	pick("payee", "payee")
	pick("levels", "level")
	if rapid.Bool().Draw(t, "one level") {
		call["level"] = json.RawMessage(`1`)
	}
	call["total"] = json.RawMessage(fmt.Sprintf(`{"amount":%s,"currency":%s}`,
		rapid.SampledFrom(amounts).Draw(t, "amount"), rapid.SampledFrom(fieldValues["currency"]).Draw(t, "currency")))
	args, err := json.Marshal(call)
	if err != nil {
		t.Fatal(err)
	}
	return args
}

// TestCoverNarrows: EX8, RA4. What a narrower token covers, the wider covers; and one object covers what several do, or none does.
func TestCoverNarrows(t *testing.T) {
	t.Parallel()
	types := compile(t, bounty(), func() Type { o := bounty(); o.Name, o.Covers = "other", nil; return o }())
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		parent := drawDetails(t, types, 4)
		child := drawWithin(t, types, parent)
		args := drawCall(t)
		_, narrowErr := types.Cover(child.JSON(), "payments.pay", args)
		_, wideErr := types.Cover(parent.JSON(), "payments.pay", args)
		if narrowErr == nil && wideErr != nil {
			t.Fatalf("%s\ncovers %s, and\n%s\ndoes not: %v", child.JSON(), args, parent.JSON(), wideErr)
		}
		alone := slices.ContainsFunc(parent.List(), func(d Detail) bool {
			_, err := types.Cover([]byte("["+string(d.JSON)+"]"), "payments.pay", args)
			return err == nil
		})
		if alone != (wideErr == nil) {
			t.Fatalf("%s and %s: alone %v, together %v", parent.JSON(), args, alone, wideErr)
		}
		if narrowErr == nil {
			covered++
		}
	})
	if covered == 0 {
		t.Error("no drawn call was covered: the property held of nothing")
	}
}

// TestDecimals compares and writes numbers as exact fractions do.
func TestDecimals(t *testing.T) {
	t.Parallel()
	number := rapid.Custom(func(t *rapid.T) string {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,8})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		if rapid.IntRange(0, 3).Draw(t, "tiny") == 0 {
			return rapid.SampledFrom([]string{"0", "-0", "0.0", "1", "1.0", "10e-1", "0.1e1", "100", "1e2", "-1", "-10e-1", "0e999999999999"}).Draw(t, "known")
		}
		return text
	})
	exact := func(t *rapid.T, text string) *big.Rat {
		r, ok := new(big.Rat).SetString(strings.Replace(text, "0e999999999999", "0", 1))
		if !ok {
			t.Fatalf("%s", text)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		x, y := number.Draw(t, "x"), number.Draw(t, "y")
		a, errA := parseDecimal(x)
		b, errB := parseDecimal(y)
		if errA != nil || errB != nil { // beyond the exponents, far from what is money
			return
		}
		if got, want := a.compare(b), exact(t, x).Cmp(exact(t, y)); got != want || b.compare(a) != -want {
			t.Fatalf("%s against %s: %d, want %d", x, y, got, want)
		}
		if a.compare(b) == 0 && a.String() != b.String() {
			t.Fatalf("%s and %s are equal, and written %s and %s", x, y, a, b)
		}
		if !json.Valid([]byte(a.String())) || exact(t, a.String()).Cmp(exact(t, x)) != 0 {
			t.Fatalf("%s is written %s", x, a)
		}
		if again, err := parseDecimal(a.String()); err != nil || again != a {
			t.Fatalf("%s read as %+v: %v", a, again, err)
		}
	})
	for _, text := range []string{"1e65", "1e-65", "1e99999999999999999999", "1" + strings.Repeat("0", 33) + "1"} {
		if d, err := parseDecimal(text); err == nil {
			t.Errorf("%s is read: %+v", text, d)
		}
	}
}
