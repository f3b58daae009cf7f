package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Threat: denial of service by policy text. Cedar's parser recurses, and an overflowing stack ends the process: text that
// nests is refused before it, at a cost that does not grow with the nesting.
func TestNestedTextIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]struct{ open, close string }{
		"parentheses": {"(", ")"}, "brackets": {"[", "]"}, "records": {"{a:", "}"}, "not": {"!", ""}, "minus": {"-", ""},
		"if": {"if ", ""}, "else if": {"if true then true else ", ""}, "and": {"true && ", ""}, "and (": {"true && (", ")"},
		"or": {"true || ", ""}, "plus": {"1 + ", ""}, "times": {"1 * ", ""}, "less": {"1 < ", ""}, "call": {"ip(", ")"},
		"not (": {"!(", ")"}, "contains": {"[1].contains(", ")"}, "has": {"context has a.", ""}, "access": {"context.", ""},
		"in": {"principal in ", ""}, "path": {"A::", ""}, "index": {`context["a"]`, ""}, "like": {`"a" like "a" && `, ""},
		"annotations": {`@a("b")`, ""}, "entities": {`Agent::"acme/a",`, ""}, "comment": {"/*", "*/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, n := range []int{2000, 400_000} {
				for _, size := range []int{MaxFileSize, 1 << 30} { // cut to what is read, and whole
					body := strings.Repeat(text.open, n) + "true" + strings.Repeat(text.close, n)
					whole := `@id("a") permit (principal, action, resource) when { ` + body
					whole = whole[:min(len(whole), size-4)] + " };"
					start := time.Now()
					if _, problem := (source{text: body}).split(); problem == nil && name == "parentheses" {
						t.Error("the scan let it pass")
					}
					if _, err := Compile(bundle(whole)); err == nil {
						t.Errorf("compiled %d of %q", n, text.open)
					}
					if took := time.Since(start); took > 5*time.Second {
						t.Errorf("%d of %q took %s", n, text.open, took)
					}
				}
			}
		})
	}
}

// The worst that passes the limits stays cheap too, with an org of many tools.
func TestLargestPoliciesAreCheap(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"and":       "true" + strings.Repeat(" && true", (maxTokens-30)/2),
		"or":        "context.depth > 1" + strings.Repeat(" || context.depth > 1", (maxTokens-30)/6),
		"has":       "context has acr" + strings.Repeat(" && context has acr", (maxTokens-30)/4),
		"brackets":  strings.Repeat("(", maxNesting-2) + "true" + strings.Repeat(")", maxNesting-2),
		"nested if": strings.Repeat("if true then (", maxNesting-2) + "true" + strings.Repeat(") else false", maxNesting-2),
		"else if":   strings.Repeat("if context.depth > 1 then true else ", maxConditions) + "true",
		"set":       "[1" + strings.Repeat(", 1", (maxTokens-40)/2) + "].contains(1)",
		"sums":      "1" + strings.Repeat(" + 1", (maxTokens-30)/2) + " > 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bundle(`@id("a") permit (principal, action, resource) when { ` + body + ` };`)
			for i := range 30 {
				b.Providers[0].Tools = append(b.Providers[0].Tools, Tool{Name: fmt.Sprintf("github.tool%d", i)})
			}
			start := time.Now()
			s := compile(t, b)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("compiled in %s", took)
			}
			r := callRequest("github.search", "")
			r.Subject.ACR = "strong"
			start = time.Now()
			if d := s.Call(r); !d.Allowed {
				t.Error(d)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("decided in %s", took)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	fill := func(n int, id string) string {
		text := fmt.Sprintf(`@id(%q) permit (principal, action, resource); //`, id)
		return text + strings.Repeat("x", n-len(text))
	}
	full := func(files int) (out []File) {
		for i := range files {
			out = append(out, File{Name: "f", Text: fill(MaxFileSize, fmt.Sprint(i))})
		}
		return out
	}
	b := bundle()
	b.Policies, b.Platform = full(MaxSetSize/MaxFileSize), full(MaxSetSize/MaxFileSize)
	compile(t, b)
	b.Policies = append(b.Policies, File{Text: "//"})
	if got := problems(t, b); !strings.Contains(got[0].Message, "at most 1048576") {
		t.Error(got)
	}
	b = bundle(fill(MaxFileSize+1, "a"))
	if got := problems(t, b); got[0].File != "p0.cedar" || !strings.Contains(got[0].Message, "at most 65536") {
		t.Error(got)
	}
	for _, name := range []string{"a\x00", "a\nb", "\u202ea", "\xff", fill(257, "a")} {
		b = bundle()
		b.Platform = []File{{Name: name}}
		if got := problems(t, b); !strings.Contains(got[0].Message, "a file name has at most 256") || strings.Contains(got[0].File, name) {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// Many policies about every one of many tools are refused, for checking them takes minutes. A policy that says
// what it is about costs what it is about.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	b := bundle()
	for i := range 300 {
		b.Providers[0].Tools = append(b.Providers[0].Tools, Tool{Name: fmt.Sprintf("t%d", i)})
	}
	files := func(scope string) (out []File) {
		for f := range 5 {
			var text strings.Builder
			for i := range 300 {
				fmt.Fprintf(&text, "@id(\"p%d-%d\") permit (principal, action %s, resource) when { context.depth < 3 };\n", f, i, scope)
			}
			out = append(out, File{Name: "f", Text: text.String()})
		}
		return out
	}
	b.Policies = files("")
	if got := problems(t, b); len(got) != 1 || !strings.Contains(got[0].Hint, "scope") {
		t.Error(got)
	}
	b.Policies = files(`== Action::"t7"`)
	compile(t, b)
}
