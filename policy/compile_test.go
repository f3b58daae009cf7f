package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/store"
)

// What is wrong comes back with file, line, column and what was meant.
func TestProblems(t *testing.T) {
	t.Parallel()
	const head = `@id("a") permit (principal, action == Action::"exchange", resource) `
	const pay = `@id("a") permit (principal, action == Action::"payments.transfer", resource) `
	for _, test := range []struct {
		name, text, want string
	}{
		{"a word that is no variable", head + `when { contxt.depth < 1 };`, "p0.cedar:1:76: `contxt` cannot stand here (did you mean `context`?)"},
		{"a wrong attribute", head + "\n  when { context.dept < 1 };", "p0.cedar:2:18: the context of `exchange` has no attribute `dept` (did you mean `depth`?)"},
		{"a wrong argument", pay + `when { context.args.amont.lessThan(decimal("1.0")) };`, "p0.cedar:1:98: the context of `payments.transfer` has no attribute `amont` (did you mean `amount`?)"},
		{"a wrong attribute in quotes", pay + `when { context.args["cuont"] < 1 };`, "p0.cedar:1:98: the context of `payments.transfer` has no attribute `cuont` (did you mean `count`?)"},
		{"a wrong attribute of an agent", head + `when { principal.external && principal.ower == "x" };`, "p0.cedar:1:108: `Agent` has no attribute `ower` (did you mean `owner`?)"},
		{"nothing near", head + `when { principal.quality == "x" };`, "p0.cedar:1:86: `Agent` has no attribute `quality` (there are external, owner)"},
		{"a wrong action", `@id("a") permit (principal, action == Action::"exchnge", resource);`, "p0.cedar:1:47: there is no action `exchnge` (did you mean `exchange`?)"},
		{"a wrong type", `@id("a") permit (principal == Agnet::"acme/x", action == Action::"exchange", resource);`, "p0.cedar:1:31: there is no entity type `Agnet` (did you mean `Agent`?)"},
		{"a wrong type in a condition", head + `when { context.subject in Gruop::"acme/x" };`, "p0.cedar:1:95: there is no entity type `Gruop` (did you mean `Group`?)"},
		{"a wrong effect", `@id("a") premit (principal, action, resource);`, "p0.cedar:1:10: `premit` is neither permit nor forbid (did you mean `permit`?)"},
		{"a wrong head", `@id("a") permit (principle, action, resource);`, "p0.cedar:1:18: found `principle` where `principal` should be (did you mean `principal`?)"},
		{"a wrong keyword", head + `whn { true };`, "p0.cedar:1:69: found `whn` where the policy should end with `;` (did you mean `when`?)"}, //nolint:misspell // the misspelling is the case
		{"a wrong method", head + `when { context.amr.contain("x") };`, "p0.cedar:1:88: `contain` is not a method (did you mean `contains`?)"},
		{"a wrong function", head + `when { context.now < datetme("2026-01-01") };`, "p0.cedar:1:90: `datetme` is not a function (did you mean `datetime`?)"},
		{"no semicolon", `@id("a") permit (principal, action, resource)`, "p0.cedar:1:46: the policy ends where `;` should be"},
		{"an optional attribute without a test", head + `when { context.acr == "x" };`, "p0.cedar:1:84: the attribute `acr` may be absent (test it first: `… has acr && …`, or `if … has acr then … else …`)"},
		{"a decimal compared as a number", pay + `when { context.args.amount < 100 };`, `p0.cedar:1:1: unexpected type: expected datetime, or duration, or Long but saw decimal (decimals compare with .lessThan(decimal("1.00")) and its like)`},
		{"a number beyond Long", head + `when { context.depth < 99999999999999999999 };`, "p0.cedar:1:92: `99999999999999999999` is beyond the range of Long"},
		{"a bad decimal", pay + `when { context.args.amount.lessThan(decimal("1.23456")) };`, "p0.cedar:1:122: error during extension function argument validation: failed to parse as a decimal value: `\"1.23456\"`"},
		{"a scope that fits no action", `@id("a") permit (principal, action == Action::"exchange", resource == Connection::"acme/x");`, "p0.cedar:1:1: no action fits the policy's scope (a principal is an Agent; a resource is a Scope for exchange, a DetailType for a detail, and a Connection for a call)"},
		{"no id", "\n\npermit (principal, action, resource);", `p0.cedar:3:1: the policy has no @id (write @id("a-name") before it: decisions and the audit trail name it)`},
		{"an id that is no name", `@id("a/b") permit (principal, action, resource);`, `p0.cedar:1:1: @id("a/b") is no usable id (use 1 to 128 of a-z, A-Z, 0-9, . _ -)`},
		{"a string without end", `@id("a) permit (principal, action, resource);`, `p0.cedar:1:5: the string does not end on its line (close it with ")`},
		{"a comment without end", "// fine\n/* not", `p0.cedar:2:1: the comment does not end (close it with */)`},
		{"bytes that are no text", "// \xff", `p0.cedar:1:4: not UTF-8 text`},
		{"a NUL", "// é\x00", `p0.cedar:1:5: not UTF-8 text`},
		{"a template", `@id("a") permit (principal == ?principal, action, resource);`, "p0.cedar:1:31: expected ident, found `?`"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, bundle(test.text))
			if len(got) != 1 || got[0].String() != test.want {
				t.Errorf("got  %v\nwant %s", got, test.want)
			}
		})
	}
}

func TestEveryProblemIsReported(t *testing.T) {
	t.Parallel()
	got := problems(t, bundle(
		`@id("a") permit (principal, action, resource);
		 @id("a") permit (principal, action, resource);
		 @id("b") premit (principal, action, resource);`,
		`@id("a") permit (principal, action, resource);
		 @id("c") permit (principal, action == Action::"x", resource);`))
	var where []string
	for _, p := range got {
		where = append(where, fmt.Sprintf("%s:%d", p.File, p.Line))
	}
	if want := []string{"p0.cedar:2", "p0.cedar:3", "p1.cedar:1", "p1.cedar:2"}; !slices.Equal(where, want) {
		t.Errorf("%v, want %v: %v", where, want, got)
	}
	many := strings.Repeat(`permit (principal, action, resource);`, 200)
	if got := problems(t, bundle(many)); len(got) != maxProblems+1 || got[maxProblems].Message != "and 100 more" {
		t.Errorf("%d problems: %v", len(got), got[len(got)-1])
	}
}

// Threat: tenant mix-up. An org's policy names its own only, wherever the name stands; the platform's may name any.
func TestForeignEntities(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`permit (principal == Agent::"globex/x", action == Action::"exchange", resource);`,
		`permit (principal in AgentGroup::"globex/x", action == Action::"exchange", resource);`,
		`permit (principal in Org::"globex", action == Action::"exchange", resource);`,
		`permit (principal is Agent in AgentGroup::"x", action == Action::"exchange", resource);`,
		`permit (principal, action == Action::"github.search", resource == Connection::"globex/x");`,
		`permit (principal, action == Action::"github.search", resource in Org::"acme2");`,
		`permit (principal, action == Action::"github.search", resource is Connection in Org::"globex");`,
		`permit (principal, action, resource) when { context.subject == User::"globex/okta|1" };`,
		`permit (principal, action, resource) when { context.subject in Group::"globex/x" };`,
		`permit (principal, action, resource) when { context.subject in [Group::"acme/x", Group::"globex/x"] };`,
		`permit (principal, action, resource) when { context.subject is User in Group::"globex/x" };`,
		`permit (principal, action, resource) unless { [User::"globex/okta|1"].contains(context.subject) };`,
		`permit (principal, action, resource) when { {a: [{b: User::"acme2/okta|1"}]}.a.contains({b: context.subject}) };`,
		`permit (principal, action, resource) when { if context.depth > 1 then context.subject == User::"globex/1" else true };`,
		`permit (principal, action, resource) when { !(-context.depth < 0) || (User::"acmeglobex/1" == context.subject) };`,
		`permit (principal, action == Action::"exchange", resource) when { context.audience == Resource::"https://executor.example" };`,
		`permit (principal, action == Action::"exchange", resource) when { context.chain.contains(Agent::"globex/x") };`,
		`permit (principal, action == Action::"exchange", resource) when { context.chain.containsAny([Agent::"acme/"]) };`,
		`permit (principal, action, resource) when { false && User::"globex/1" == User::"globex/1" };`,
		`permit (principal, action, resource) when { User::"globex/1" has email };`,
		`permit (principal, action, resource) when { Agent::"globex/1".owner like "x" };`,
	} {
		found := problems(t, bundle(`@id("a") `+text))
		if !slices.ContainsFunc(found, func(p Problem) bool { return strings.HasSuffix(p.Message, "is not of this org") && p.Hint != "" }) {
			t.Errorf("%s\n%v", text, found)
		}
		b := bundle()
		b.Platform = []File{{Name: "platform.cedar", Text: `@id("a") ` + text}}
		if _, err := Compile(b); err != nil && !strings.Contains(text, "has email") {
			t.Errorf("the platform's: %s\n%v", text, err)
		}
	}
	if _, err := Compile(bundle(`@id("a") permit (principal == Agent::"acme/x", action, resource in Provider::"any")
		when { context.subject in Org::"acme" && context.subject != User::"acme/okta|1" };`)); err != nil {
		t.Errorf("its own: %v", err)
	}
}

// A guardrail on a tool that the org does not have guards nothing there. For the platform's own bundle it is a mistake.
func TestPlatformPoliciesOnOtherTools(t *testing.T) {
	t.Parallel()
	b := bundle()
	b.Platform = []File{{Name: "g.cedar", Text: `
		@id("elsewhere") forbid (principal, action == Action::"satellite.deorbit", resource);
		@id("group-elsewhere") forbid (principal, action in Action::"satellite.write", resource);
		@id("partly") forbid (principal, action in [Action::"satellite.deorbit", Action::"github.search"], resource);`}}
	s := compile(t, b)
	if got := s.Policies(); !slices.Equal(got, []string{"platform/partly"}) {
		t.Errorf("policies %v", got)
	}
	if got := s.AbsentActions(); !slices.Equal(got, []string{"satellite.deorbit", "satellite.write"}) {
		t.Errorf("absent %v", got)
	}
	b.Org, b.Agents = store.PlatformOrg, nil
	if got := problems(t, b); len(got) != 3 {
		t.Errorf("%v", got)
	}
	b = bundle(`@id("a") forbid (principal, action == Action::"satellite.deorbit", resource);`)
	if got := problems(t, b); len(got) != 1 {
		t.Errorf("an org's own policy: %v", got)
	}
}

func TestOwnersDoNotShareIDs(t *testing.T) {
	t.Parallel()
	b := bundle(`@id("same") permit (principal, action, resource);`)
	b.Platform = []File{{Name: "g.cedar", Text: `@id("same") forbid (principal, action == Action::"exchange", resource);`}}
	s := compile(t, b)
	if got := s.Policies(); !slices.Equal(got, []string{"org/same", "platform/same"}) {
		t.Errorf("policies %v", got)
	}
	if d := s.Exchange(exchangeRequest("x"))[0]; d.Allowed || !slices.Equal(d.Policies, []string{"platform/same"}) {
		t.Errorf("the org's permit overrode the platform: %v", d)
	}
}

func TestBundleProblems(t *testing.T) {
	t.Parallel()
	object := `{"type":"object"}`
	tool := func(t Tool) func(*Bundle) {
		return func(b *Bundle) { b.Providers = append(b.Providers, Provider{Name: "x", Tools: []Tool{t}}) }
	}
	for name, change := range map[string]func(*Bundle){
		"org id":                  func(b *Bundle) { b.Org = "Acme" },
		"no org":                  func(b *Bundle) { b.Org = "" },
		"agent name":              func(b *Bundle) { b.Agents[0].Name = "x/y" },
		"tool name with quotes":   tool(Tool{Name: `a" in ["b`}),
		"tool name with newline":  tool(Tool{Name: "a\nb"}),
		"no tool name":            tool(Tool{}),
		"a tool named exchange":   tool(Tool{Name: "exchange"}),
		"a tool named call":       tool(Tool{Name: "call"}),
		"a tool named as a group": tool(Tool{Name: "github.write"}),
		"a tool twice":            tool(Tool{Name: "github.search"}),
		"a group with quotes":     tool(Tool{Name: "a", Groups: []string{`x"`}}),
		"a group named exchange":  tool(Tool{Name: "a", Groups: []string{"exchange"}}),
		"a group named detail":    tool(Tool{Name: "a", Groups: []string{"detail"}}),
		"a group of details":      tool(Tool{Name: "a", Groups: []string{"detail.payment"}}),
		"a tool named detail":     tool(Tool{Name: "detail"}),
		"a tool named as details": tool(Tool{Name: "detail.payment"}),
		"another provider's tool": tool(Tool{Name: "a", Provider: "github"}),
		"arguments: no JSON":      tool(Tool{Name: "a", Args: []byte(`{`)}),
		"arguments: an array":     tool(Tool{Name: "a", Args: []byte(`{"type":"array"}`)}),
		"arguments: names twice":  tool(Tool{Name: "a", Args: []byte(`{"properties":{"a":{"type":"string"},"a":{"type":"integer"}}}`)}),
		"arguments: too long":     tool(Tool{Name: "a", Args: []byte(object + strings.Repeat(" ", maxToolSchema))}),
		"arguments: too deep":     tool(Tool{Name: "a", Args: []byte(strings.Repeat(`{"properties":{"a":`, 40) + "{}" + strings.Repeat("}}", 40))}),
	} {
		b := bundle()
		change(&b)
		if _, err := Compile(b); err == nil {
			t.Errorf("compiled with %s", name)
		}
	}
}

// TestSchemaText holds the schema to a golden file: it is what authors write against.
func TestSchemaText(t *testing.T) {
	t.Parallel()
	b := bundle()
	b.Providers = append(b.Providers, Provider{Name: "all", Tools: []Tool{{Name: "all.types", Args: []byte(`{"type": "object", "properties": {
		"text": {"type": "string"}, "choice": {"enum": ["a", "b"]}, "one": {"type": ["string"]}, "count": {"type": "integer"}, "amount": {"type": "number"},
		"flag": {"type": "boolean"}, "tags": {"type": "array", "items": {"type": "string"}}, "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
		"page": {"type": "object", "properties": {"size": {"type": "integer"}, "any": {}}, "required": ["size"]},
		"rows": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}, "additionalProperties": true}},
		"union": {"type": ["string", "null"]}, "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]}, "free": {"type": "object"},
		"map": {"type": "object", "additionalProperties": {"type": "string"}}, "anything": true, "list": {"type": "array"},
		"tuple": {"type": "array", "prefixItems": [{"type": "string"}]}, "ref": {"$ref": "#/$defs/x"}, "mixed": {"enum": ["a", 1]},
		"empty": {"type": "object", "additionalProperties": false}, "with space": {"type": "string"}, "quo\"te": {"type": "string"}, "é": {"type": "string"}},
		"required": ["text", "union", "amount"]}`)},
		{Name: "all.free", Args: []byte(`{"type": "object"}`)}, {Name: "all.partly", Args: []byte(`{"properties": {"a": {"type": "string"}}, "additionalProperties": true}`)}}})
	got := compile(t, b).Schema()
	const golden = "testdata/schema.cedarschema"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the schema changed (UPDATE=1 writes it):\n%s", got)
	}
	if again := compile(t, b).Schema(); again != got {
		t.Error("the schema of one bundle differs from run to run")
	}
}

// The policies of a deployment's first sketch validate as they were written.
func TestSketch(t *testing.T) {
	t.Parallel()
	compile(t, bundle(`
@id("orchestrators-may-delegate")
permit (principal in AgentGroup::"acme/orchestrators", action == Action::"exchange", resource in Provider::"github")
when { context.depth <= 3 && context.subject in Group::"acme/engineering" };

@id("no-vendor-bot-before-payments")
forbid (principal, action == Action::"exchange", resource == Scope::"payments:transfer")
when { context.chain.contains(Agent::"acme/vendor-bot") };

@id("issues-in-our-repos")
permit (principal == Agent::"acme/researcher", action in Action::"github.write", resource)
when { context.args.owner == "acme" && resource has owner && resource.owner == context.subject };

@id("transfers-up-to-100")
permit (principal, action == Action::"payments.transfer", resource)
when { context.args.amount.lessThanOrEqual(decimal("100.00")) || context.approved };
`))
}
