package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation/rar"
)

var counts = []int{1, 10, 100, 1000, 10_000}

// manyPolicies is a bundle of n policies of which one applies to either question. The others differ from it in the agent, the
// action or the resource of their scope.
func manyPolicies(n int) Bundle {
	b := bundle()
	var text strings.Builder
	flush := func() {
		b.Policies = append(b.Policies, File{Name: fmt.Sprintf("f%d", len(b.Policies)), Text: text.String()})
		text.Reset()
	}
	for i := range n - 1 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&text, "@id(\"p%d\") permit (principal == Agent::\"acme/a%d\", action, resource);\n", i, i)
		case 1:
			fmt.Fprintf(&text, "@id(\"p%d\") permit (principal in AgentGroup::\"acme/orchestrators\", action, resource in Scope::\"s%d\");\n", i, i)
		default:
			fmt.Fprintf(&text, "@id(\"p%d\") forbid (principal, action, resource == Connection::\"acme/x%d\");\n", i, i)
		}
		if text.Len() > MaxFileSize-512 {
			flush()
		}
	}
	text.WriteString(`@id("it") permit (principal in Org::"acme", action in [Action::"exchange", Action::"github.write"], resource)
		when { context.depth <= 3 && context.subject in Group::"acme/engineering" };`)
	flush()
	return b
}

func BenchmarkExchange(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			s := compile(b, manyPolicies(n))
			r := exchangeRequest("github:issues:write")
			b.ReportAllocs()
			for b.Loop() {
				if d := s.Exchange(r); !d[0].Allowed {
					b.Fatal(d)
				}
			}
		})
	}
}

func BenchmarkExchangeScopes(b *testing.B) {
	s := compile(b, manyPolicies(100))
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("scopes=%d", n), func(b *testing.B) {
			r := exchangeRequest()
			for i := range n {
				r.Scopes = append(r.Scopes, fmt.Sprintf("scope:%d", i))
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Exchange(r)
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			s := compile(b, manyPolicies(n))
			r := callRequest("github.create_issue", `{"owner":"acme","title":"Broken","labels":["bug"]}`)
			r.Subject.Groups = []string{"engineering"}
			b.ReportAllocs()
			for b.Loop() {
				if d := s.Call(r); !d.Allowed {
					b.Fatal(d)
				}
			}
		})
	}
}

func BenchmarkDetails(b *testing.B) {
	s := compile(b, detailBundle(permitAll))
	r := exchangeRequest()
	r.Details = details(b, s, `[{"type":"payment","amount":99.99,"to":"acme/site","tags":["bug"]}]`)
	b.ReportAllocs()
	for b.Loop() {
		if d := s.Details(r); !d[0].Allowed {
			b.Fatal(d)
		}
	}
}

func BenchmarkCallDetails(b *testing.B) {
	s := compile(b, detailBundle(permitAll))
	r := callRequest("payments.transfer", `{"amount":99.99}`)
	r.Details = map[string]rar.Detail{"payment": details(b, s, `[{"type":"payment","amount":99.99,"to":"acme/site"}]`)[0]}
	b.ReportAllocs()
	for b.Loop() {
		if d := s.Call(r); !d.Allowed {
			b.Fatal(d)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			in := manyPolicies(n)
			b.ReportAllocs()
			for b.Loop() {
				compile(b, in)
			}
		})
	}
}
