package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const permitAll = `@id("all") permit (principal, action, resource);`

// Threat: cedar skips a forbid that errs, and so would allow. Here any error refuses, in a forbid and in a permit.
func TestAnErrorRefuses(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{
		"an erring forbid":            `@id("err") forbid (principal, action, resource) when { context.depth + 9223372036854775807 > 5 };`,
		"an erring permit":            `@id("err") permit (principal, action, resource) when { context.depth * 9223372036854775807 > 5 };`,
		"an erring unless":            `@id("err") forbid (principal, action, resource) unless { context.depth - -9223372036854775807 > 5 };`,
		"an error behind a condition": `@id("err") forbid (principal, action, resource) when { context.depth > 0 && -(context.depth - 2 - 9223372036854775807) > 0 };`,
	} {
		s := compile(t, bundle(permitAll, policy))
		r := exchangeRequest("github:issues:write")
		r.Depth = 2
		if strings.Contains(policy, "-(") { // -(Long's least) is one too many
			r.Depth = 1
		}
		want := Decision{Version: "v1", Policies: []string{"org/err"}, Reason: reasonError}
		if diff := cmp.Diff(want, s.Exchange(r)[0]); diff != "" {
			t.Errorf("%s, at the mint (-want +got):\n%s", name, diff)
		}
		c := callRequest("github.search", "")
		c.Depth = r.Depth
		if diff := cmp.Diff(want, s.Call(c)); diff != "" {
			t.Errorf("%s, at the call (-want +got):\n%s", name, diff)
		}
		r.Depth = 0
		if d := s.Exchange(r)[0]; strings.HasPrefix(name, "an error behind") && !d.Allowed {
			t.Errorf("%s: an error that is not reached: %v", name, d)
		}
	}
}

// What forbids is named before what errs: both refuse.
func TestAForbidBesideAnError(t *testing.T) {
	t.Parallel()
	s := compile(t, bundle(permitAll,
		`@id("err") permit (principal, action, resource) when { context.depth * 9223372036854775807 > 5 };
		 @id("no") forbid (principal, action, resource);`))
	r := exchangeRequest("github:issues:write")
	r.Depth = 2
	if d := s.Exchange(r)[0]; d.Allowed || d.Reason != reasonForbid || !slices.Equal(d.Policies, []string{"org/no"}) {
		t.Error(d)
	}
}

// A request that does not fit the schema is refused whatever the policies say, and tells nothing of its values.
func TestAMisfitIsRefused(t *testing.T) {
	t.Parallel()
	s := compile(t, bundle(permitAll))
	q, refused := s.exchangeQuestion(exchangeRequest("github:issues:write"))
	if refused != "" {
		t.Fatal(refused)
	}
	q.ask("github:issues:write")
	if d := q.decide(); !d.Allowed {
		t.Fatal(d)
	}
	good := q.request
	for name, change := range map[string]func(){
		"another action":    func() { q.request.Action = action("github.search") },
		"no such action":    func() { q.request.Action = action("nothing") },
		"a group of action": func() { q.request.Action = action(actionCall) },
		"another principal": func() { q.request.Principal = s.world.own(typeUser, "okta|1") },
		"another resource":  func() { q.request.Resource = s.world.own(typeConnection, "c1") },
		"no context":        func() { q.request.Context = types.Record{} },
		"more context":      func() { q.request.Context = with(good.Context, "more", types.Long(1)) },
		"a wrong type":      func() { q.request.Context = with(good.Context, "depth", types.String("1")) },
	} {
		q.request = good
		change()
		if d := q.decide(); d.Allowed || d.Reason != reasonSchema {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func with(r types.Record, name types.String, v types.Value) types.Record {
	m := r.Map()
	m[name] = v
	return types.NewRecord(m)
}

func TestEmptySetRefuses(t *testing.T) {
	t.Parallel()
	s := compile(t, bundle())
	if d := s.Exchange(exchangeRequest("github:issues:write"))[0]; d.Allowed || d.Reason != reasonNoPermit || d.Version != "v1" {
		t.Error(d)
	}
	if d := s.Call(callRequest("github.search", "")); d.Allowed || d.Reason != reasonNoPermit {
		t.Error(d)
	}
	if got := s.Exchange(exchangeRequest()); len(got) != 0 {
		t.Error(got)
	}
	if s.Org() != "acme" || s.Version() != "v1" {
		t.Error(s.Org(), s.Version())
	}
}

func TestScopesAreDecidedOneByOne(t *testing.T) {
	t.Parallel()
	s := compile(t, bundle(
		`@id("a") permit (principal, action == Action::"exchange", resource in Provider::"github");
		 @id("b") permit (principal, action == Action::"exchange", resource == Scope::"github:issues:write");
		 @id("c") forbid (principal, action == Action::"exchange", resource == Scope::"payments:transfer");`))
	got := s.Exchange(exchangeRequest("payments:transfer", "github:issues:write", "unknown", "github:issues:read", "github:issues:write"))
	write := Decision{Allowed: true, Version: "v1", Policies: []string{"org/a", "org/b"}}
	want := []Decision{
		{Version: "v1", Policies: []string{"org/c"}, Reason: reasonForbid}, write, {Version: "v1", Reason: reasonNoPermit},
		{Allowed: true, Version: "v1", Policies: []string{"org/a"}}, write,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A scope that two providers share is in both: the stricter policy applies.
func TestSharedScope(t *testing.T) {
	t.Parallel()
	b := bundle(permitAll, `@id("no") forbid (principal, action, resource in Provider::"payments");`)
	b.Providers[0].Scopes = append(b.Providers[0].Scopes, "payments:transfer")
	if d := compile(t, b).Exchange(exchangeRequest("payments:transfer"))[0]; d.Allowed {
		t.Error(d)
	}
}

// drawPolicy draws a policy from all forms of scope, and conditions some of which err.
func drawPolicy(t *rapid.T, id string) string {
	effect := rapid.SampledFrom([]string{"permit", "permit", "forbid"}).Draw(t, "effect")
	principal := rapid.SampledFrom([]string{"", "", ` == Agent::"acme/orchestrator"`, ` == Agent::"acme/researcher"`, ` in Agent::"acme/researcher"`,
		` in AgentGroup::"acme/workers"`, ` in AgentGroup::"acme/orchestrators"`, ` in Org::"acme"`, ` is Agent`, ` is Agent in AgentGroup::"acme/workers"`,
		` == Agent::"acme/nobody"`}).Draw(t, "principal")
	type half struct{ action, resource string }
	exchange := []string{"", ` == Scope::"github:issues:write"`, ` in Scope::"github:issues:write"`, ` in Provider::"github"`, ` in Provider::"payments"`,
		` is Scope`, ` is Scope in Provider::"github"`, ` == Scope::"unknown"`}
	call := []string{"", ` == Connection::"acme/c1"`, ` in Connection::"acme/c1"`, ` == Connection::"acme/c2"`, ` in Provider::"github"`, ` in Org::"acme"`,
		` is Connection`, ` is Connection in Provider::"payments"`}
	var halves []half
	for _, r := range exchange {
		halves = append(halves, half{` == Action::"exchange"`, r}, half{` in [Action::"exchange"]`, r})
	}
	for _, r := range call {
		for _, a := range []string{` in Action::"call"`, ` == Action::"github.search"`, ` in Action::"github.write"`,
			` in [Action::"github.create_issue", Action::"github.write", Action::"github.search"]`} {
			halves = append(halves, half{a, r})
		}
	}
	halves = append(halves, half{"", ""}, half{"", ` in Provider::"github"`})
	h := rapid.SampledFrom(halves).Draw(t, "scope")
	condition := rapid.SampledFrom([]string{"", "", "", " when { context.depth > 1 }", ` unless { principal.external }`,
		` when { context.subject in Group::"acme/engineering" }`, " when { context.depth * 9223372036854775807 > 5 }"}).Draw(t, "condition")
	return fmt.Sprintf("@id(%q) %s (principal%s, action%s, resource%s)%s;\n", id, effect, principal, h.action, h.resource, condition)
}

func drawPolicies(t *rapid.T) []string {
	var out []string
	for i := range rapid.IntRange(0, 12).Draw(t, "policies") {
		out = append(out, drawPolicy(t, fmt.Sprintf("p%d", i)))
	}
	return out
}

func drawSubject(t *rapid.T) Subject {
	return rapid.SampledFrom([]Subject{{ID: "user:acme/okta|1"}, {ID: "user:acme/okta|2", Groups: []string{"engineering", "x"}, ACR: "a", AMR: []string{"pwd"}}}).Draw(t, "subject")
}

func drawExchange(t *rapid.T) ExchangeRequest {
	r := exchangeRequest("github:issues:write", "github:issues:read", "payments:transfer", "unknown")
	r.Actor = rapid.SampledFrom([]string{"agent:acme/orchestrator", "agent:acme/researcher"}).Draw(t, "actor")
	r.Subject, r.Depth = drawSubject(t), rapid.IntRange(0, 3).Draw(t, "depth")
	return r
}

func drawCall(t *rapid.T) CallRequest {
	tool := rapid.SampledFrom([]string{"github.create_issue", "github.search", "payments.transfer"}).Draw(t, "tool")
	r := callRequest(tool, map[string]string{"github.create_issue": `{"owner":"a","title":"b"}`, "payments.transfer": `{"amount":1}`}[tool])
	r.Actor = rapid.SampledFrom([]string{"agent:acme/orchestrator", "agent:acme/researcher"}).Draw(t, "actor")
	r.Subject, r.Depth = drawSubject(t), rapid.IntRange(0, 3).Draw(t, "depth")
	r.Connection.ID = rapid.SampledFrom([]string{"c1", "c2", "c3"}).Draw(t, "connection")
	return r
}

// The index and a look at every policy come to the same decision.
func TestIndexIsAFullScan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := bundle(drawPolicies(t)...)
		b.Platform = []File{{Name: "platform", Text: drawPolicy(t, "guard")}}
		s, err := Compile(b)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			e := drawExchange(t)
			q, refused := s.exchangeQuestion(e)
			if refused != "" {
				t.Fatal(refused)
			}
			for i, got := range s.Exchange(e) {
				q.ask(e.Scopes[i])
				if diff := cmp.Diff(s.judge(s.policies, &q.view, q.request), got); diff != "" {
					t.Fatalf("%s (-scan +index):\n%s", e.Scopes[i], diff)
				}
			}
			c := drawCall(t)
			if q, refused = s.callQuestion(c); refused != "" {
				t.Fatal(refused)
			}
			if diff := cmp.Diff(s.judge(s.policies, &q.view, q.request), s.Call(c)); diff != "" {
				t.Fatalf("%s (-scan +index):\n%s", c.Tool, diff)
			}
		}
	})
}

// Adding a forbid never turns a refusal into an approval; adding any policy to either owner never lifts a forbid.
func TestAddingAForbidNeverAllows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policies := drawPolicies(t)
		added := strings.Replace(drawPolicy(t, "added"), "permit (", "forbid (", 1)
		before, err := Compile(bundle(policies...))
		if err != nil {
			t.Fatal(err)
		}
		after, err := Compile(bundle(append(policies, added)...))
		if err != nil {
			t.Fatal(err)
		}
		guarded := bundle(policies...)
		guarded.Platform = []File{{Name: "platform", Text: added}}
		platform, err := Compile(guarded)
		if err != nil {
			t.Fatal(err)
		}
		e, c := drawExchange(t), drawCall(t)
		was := append(before.Exchange(e), before.Call(c))
		for _, s := range []*Set{after, platform} {
			for i, d := range append(s.Exchange(e), s.Call(c)) {
				if d.Allowed && !was[i].Allowed {
					t.Fatalf("%s\nturned %v to %v", added, was[i], d)
				}
			}
		}
	})
}

// Equal bundles answer equal questions equally, in many goroutines at once, whatever the order of files.
func TestDecisionsAreDeterministic(t *testing.T) {
	t.Parallel()
	var policies []string
	for i := range 40 {
		policies = append(policies, fmt.Sprintf(`@id("p%02d") permit (principal, action in [Action::"github.search", Action::"github.read", Action::"exchange"], resource);`, i))
	}
	b := bundle(policies...)
	want := compile(t, b).Call(callRequest("github.search", ""))
	if !slices.IsSorted(want.Policies) || len(want.Policies) != len(policies) {
		t.Fatalf("policies %v", want.Policies)
	}
	slices.Reverse(b.Policies)
	s := compile(t, b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if diff := cmp.Diff(want, s.Call(callRequest("github.search", ""))); diff != "" {
					t.Error(diff)
				}
				s.Exchange(exchangeRequest("a", "b"))
			}
		})
	}
	wg.Wait()
}

func TestLifeIsRoundedUp(t *testing.T) {
	t.Parallel()
	s := compile(t, bundle(`@id("short") permit (principal, action == Action::"exchange", resource) when { context.life <= 60 };`))
	for life, want := range map[time.Duration]bool{time.Minute: true, time.Minute + 1: false, time.Minute - 1: true, 0: true} {
		r := exchangeRequest("x")
		r.Life = life
		if d := s.Exchange(r)[0]; d.Allowed != want {
			t.Errorf("%s: %v", life, d)
		}
	}
}
