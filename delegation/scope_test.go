package delegation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
)

func scopes(t interface{ Fatal(...any) }, s string) delegation.Scopes {
	parsed, err := delegation.ParseScopes(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestParseScopes(t *testing.T) {
	t.Parallel()
	hundred := make([]string, 100)
	for i := range hundred {
		hundred[i] = fmt.Sprintf("s%02d", i)
	}
	for in, want := range map[string]string{
		"": "", "a": "a", "b a": "a b", "a a": "a", "github:issues:write": "github:issues:write", "!#[]~": "!#[]~",
		"A a": "A a", strings.Repeat("x", 128): strings.Repeat("x", 128), strings.Join(hundred, " "): strings.Join(hundred, " "),
	} {
		if got, err := delegation.ParseScopes(in); err != nil || got.String() != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for name, in := range map[string]string{
		"space": " ", "leading space": " a", "trailing space": "a ", "two spaces": "a  b", "tab": "a\tb", "newline": "a\n",
		"quote": `a"b`, "backslash": `a\b`, "delete": "a\x7f", "not ASCII": "ä", "no-break space": "a\u00a0b", "NUL": "a\x00",
		"129 bytes": strings.Repeat("x", 129), "101 scopes": strings.Join(hundred, " ") + " more",
		"10 MiB": strings.Repeat("x ", 5<<20),
	} {
		if got, err := delegation.ParseScopes(in); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := delegation.NewScopes("a b"); err == nil {
		t.Error("NewScopes took two scopes for one")
	}
}

// TestScopesJSON: one string, never an array (ACT11).
func TestScopesJSON(t *testing.T) {
	t.Parallel()
	out, err := json.Marshal(scopes(t, "b a"))
	if err != nil || string(out) != `"a b"` {
		t.Errorf("%s, %v", out, err)
	}
	var s delegation.Scopes
	if err := json.Unmarshal([]byte(`"b a"`), &s); err != nil || s.String() != "a b" {
		t.Errorf("%q, %v", s, err)
	}
	for _, bad := range []string{`["a"]`, `1`, `{"a":1}`, `"a  b"`} {
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestScopesAreImmutable: a list that goes out does not lead back in.
func TestScopesAreImmutable(t *testing.T) {
	t.Parallel()
	in := []string{"b", "a"}
	s, err := delegation.NewScopes(in...)
	if err != nil {
		t.Fatal(err)
	}
	in[0] = "z"
	s.List()[0] = "z"
	if s.String() != "a b" || in[1] != "a" {
		t.Errorf("%q, %q", s, in)
	}
}

func scopesGen() *rapid.Generator[delegation.Scopes] {
	return rapid.Custom(func(t *rapid.T) delegation.Scopes {
		return must(delegation.NewScopes(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "A", "a:b"}), 0, 6).Draw(t, "scopes")...))
	})
}

// TestScopeAlgebra: the laws of sets, so that narrowing twice is narrowing by both.
func TestScopeAlgebra(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := scopesGen().Draw(t, "a"), scopesGen().Draw(t, "b"), scopesGen().Draw(t, "c")
		ab := a.Intersect(b)
		if !ab.SubsetOf(a) || !ab.SubsetOf(b) || !ab.Equal(b.Intersect(a)) {
			t.Fatal("intersection")
		}
		if !ab.Intersect(c).Equal(a.Intersect(b.Intersect(c))) || !a.Intersect(a).Equal(a) {
			t.Fatal("associativity, idempotence")
		}
		if a.SubsetOf(b) != a.Intersect(b).Equal(a) || a.SubsetOf(b) != a.Without(b).Empty() {
			t.Fatal("subset")
		}
		if a.SubsetOf(b) && b.SubsetOf(c) && !a.SubsetOf(c) {
			t.Fatal("transitivity")
		}
		if a.Without(b).Len()+ab.Len() != a.Len() {
			t.Fatal("difference")
		}
		for _, s := range a.List() {
			if !a.Contains(s) || ab.Contains(s) != b.Contains(s) {
				t.Fatal("membership")
			}
		}
		if !scopes(t, a.String()).Equal(a) {
			t.Fatal("text")
		}
		if !(delegation.Scopes{}).SubsetOf(a) || !a.Empty() && a.SubsetOf(delegation.Scopes{}) {
			t.Fatal("the empty set")
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
