package policy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/store"
)

// detailBundle is the org of bundle with two types, of which payment governs payments.transfer.
func detailBundle(policies ...string) Bundle {
	b := bundle(policies...)
	b.DetailTypes = []rar.Type{
		{
			Name: "payment", Narrowing: map[string]rar.Rule{
				"amount": rar.AtMost, "count": rar.AtMost, "to": rar.Prefix, "tags": rar.Subset, "address": rar.Equal, "urgent": rar.Equal, "lines": rar.Equal},
			Schema: json.RawMessage(`{"type": "object", "required": ["amount"], "additionalProperties": true, "properties": {
				"amount": {"type": "number"}, "count": {"type": "integer"}, "to": {"type": "string"}, "urgent": {"type": "boolean"},
				"tags": {"type": "array", "items": {"type": "string"}},
				"lines": {"type": "array", "items": {"type": "object", "additionalProperties": true, "properties": {"sku": {"type": "string"}}}},
				"address": {"type": "object", "required": ["city"], "additionalProperties": true, "properties": {"city": {"type": "string"}}}}}`),
			Covers: []rar.Cover{{Tool: "payments.transfer", Arguments: map[string]string{"amount": "/amount", "count": "/count"}}},
		},
		{Name: "https://acme.example/all", Schema: json.RawMessage(`{"type": "object", "properties": {}}`)},
	}
	return b
}

// details reads what a token has, by the types of the set.
func details(t testing.TB, s *Set, text string) []rar.Detail {
	t.Helper()
	d, err := s.DetailTypes().Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d.List()
}

const paymentCents = `{"type":"payment","amount":0.01}`

// TestDetailsAreDecidedOneByOne: RA3. Each object is asked for alone, and answered in the order of the request.
func TestDetailsAreDecidedOneByOne(t *testing.T) {
	t.Parallel()
	s := compile(t, detailBundle(
		`@id("little") permit (principal, action == Action::"detail.payment", resource) when { context.detail.amount.lessThan(decimal("10.0")) };
		 @id("any") permit (principal, action in Action::"detail", resource == DetailType::"payment") when { context.depth == 1 };
		 @id("urgent") forbid (principal, action == Action::"detail.payment", resource) when { context.detail has urgent && context.detail.urgent };
		 @id("err") permit (principal, action == Action::"detail.payment", resource)
		   when { context.detail has count && context.detail.count * 9223372036854775807 > 5 };`))
	r := exchangeRequest("github:issues:write")
	r.Details = details(t, s, `[{"type":"payment","amount":100}, `+paymentCents+`, {"type":"https://acme.example/all"},
		{"type":"payment","amount":1,"urgent":true}, {"type":"payment","amount":1,"count":2}, {"type":"payment","amount":1.23456}]`)
	want := []Decision{
		{Allowed: true, Version: "v1", Policies: []string{"org/any"}},
		{Allowed: true, Version: "v1", Policies: []string{"org/any", "org/little"}},
		{Version: "v1", Reason: reasonNoPermit},
		{Version: "v1", Policies: []string{"org/urgent"}, Reason: reasonForbid},
		{Version: "v1", Policies: []string{"org/err"}, Reason: reasonError},
		{Version: "v1", Reason: `authorization_details of type "payment", field "amount": more than four decimal places, which policy cannot see`},
	}
	if diff := cmp.Diff(want, s.Details(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := s.Exchange(r); len(got) != 1 || got[0].Allowed {
		t.Errorf("RA3 a permit of a detail is no permit of a scope: %v", got)
	}
	r.Details = nil
	if got := s.Details(r); len(got) != 0 {
		t.Errorf("no details: %v", got)
	}
}

// TestDetailsNeedAPermit: RA1, RA2, RA3. What permits scopes or calls permits no detail, and what does not fit its type has none.
func TestDetailsNeedAPermit(t *testing.T) {
	t.Parallel()
	for name, policies := range map[string][]string{
		"no policy":        nil,
		"the exchange":     {`@id("a") permit (principal, action == Action::"exchange", resource);`},
		"calls":            {`@id("a") permit (principal, action in Action::"call", resource);`},
		"scopes":           {`@id("a") permit (principal, action, resource is Scope);`},
		"another type":     {`@id("a") permit (principal, action == Action::"detail.https://acme.example/all", resource);`},
		"another resource": {`@id("a") permit (principal, action in Action::"detail", resource == DetailType::"other");`},
		"another agent":    {`@id("a") permit (principal == Agent::"acme/researcher", action in Action::"detail", resource);`},
	} {
		s := compile(t, detailBundle(policies...))
		r := exchangeRequest()
		r.Details = details(t, s, "["+paymentCents+"]")
		if d := s.Details(r)[0]; d.Allowed || d.Reason != reasonNoPermit {
			t.Errorf("RA3 %s: %v", name, d)
		}
	}
	s := compile(t, detailBundle(permitAll))
	r := exchangeRequest()
	r.Details = details(t, s, "["+paymentCents+"]")
	if d := s.Details(r)[0]; !d.Allowed {
		t.Fatal(d)
	}
	for name, change := range map[string]func(*ExchangeRequest){
		"another org's actor":    func(r *ExchangeRequest) { r.Actor = "agent:globex/orchestrator" },
		"another org's subject":  func(r *ExchangeRequest) { r.Subject.ID = "user:globex/okta|1" },
		"another org's service":  func(r *ExchangeRequest) { r.Subject.ID = "service:globex/x" },
		"a service without name": func(r *ExchangeRequest) { r.Subject.ID = "service:acme/" },
		"a user as a service":    func(r *ExchangeRequest) { r.Subject.ID = "user:acme/service|x" },
		"another org's chain":    func(r *ExchangeRequest) { r.Chain = []string{"agent:globex/x"} },
		"no audience":            func(r *ExchangeRequest) { r.Audience = "https://elsewhere.example" },
		"RA2 an unknown type":    func(r *ExchangeRequest) { r.Details = []rar.Detail{{Type: "nothing", JSON: []byte(`{}`)}} },
		"RA2 an unknown field":   func(r *ExchangeRequest) { r.Details[0].JSON = []byte(`{"type":"payment","amount":1,"more":1}`) },
		"RA2 a missing field":    func(r *ExchangeRequest) { r.Details[0].JSON = []byte(`{"type":"payment"}`) },
		"RA1 no JSON":            func(r *ExchangeRequest) { r.Details[0].JSON = []byte(`{"type":"payment","amount":1`) },
		"RA2 an amount as text":  func(r *ExchangeRequest) { r.Details[0].JSON = []byte(`{"type":"payment","amount":"1"}`) },
		"RA2 an open object": func(r *ExchangeRequest) {
			r.Details[0].JSON = []byte(`{"type":"payment","amount":1,"address":{"city":"a","x":1}}`)
		},
	} {
		changed := r
		changed.Details = slices.Clone(r.Details)
		change(&changed)
		if d := s.Details(changed)[0]; d.Allowed || d.Reason == "" || d.Version != "v1" {
			t.Errorf("%s: %v", name, d)
		}
	}
}

// TestCallDetails: EX8. A governed tool is never called without the details that cover the call, and policy sees them.
func TestCallDetails(t *testing.T) {
	t.Parallel()
	s := compile(t, detailBundle(
		`@id("all") permit (principal, action, resource);
		 @id("to") forbid (principal, action == Action::"payments.transfer", resource) unless { context.details.payment has to };
		 @id("has") forbid (principal, action in Action::"call", resource)
		   when { context has details && context.details has payment && context.details.payment has urgent && context.details.payment.urgent };`))
	one := func(text string) map[string]rar.Detail {
		return map[string]rar.Detail{"payment": details(t, s, "["+text+"]")[0]}
	}
	good := one(`{"type":"payment","amount":1,"to":"x"}`)
	other := details(t, s, `[{"type":"https://acme.example/all"}]`)[0]
	for _, test := range []struct {
		name    string
		tool    string
		details map[string]rar.Detail
		want    string
	}{
		{"EX8 with its detail", "payments.transfer", good, "allowed by [org/all]"},
		{"EX8 without", "payments.transfer", nil, `refused: the tool needs authorization_details of type "payment" []`},
		{"EX8 of another type", "payments.transfer", map[string]rar.Detail{"payment": other}, `refused: the tool needs authorization_details of type "payment" []`},
		{"EX8 of another type besides", "payments.transfer", map[string]rar.Detail{"payment": good["payment"], other.Type: other},
			`refused: authorization_details of a type that does not govern the tool []`},
		{"EX8 of a type that does not govern", "github.search", good, `refused: authorization_details of a type that does not govern the tool []`},
		{"EX8 a tool that no type governs", "github.search", nil, "allowed by [org/all]"},
		{"EX8 policy sees that a field is not there", "payments.transfer", one(paymentCents), "refused: a policy forbids this [org/to]"},
		{"EX8 policy sees a field", "payments.transfer", one(`{"type":"payment","amount":1,"to":"x","urgent":true}`), "refused: a policy forbids this [org/has]"},
		{"EX8 what policy cannot see exactly", "payments.transfer", one(`{"type":"payment","amount":0.00001,"to":"x"}`),
			`refused: authorization_details of type "payment", field "amount": more than four decimal places, which policy cannot see []`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := callRequest(test.tool, "")
			if test.tool == "payments.transfer" {
				r.Arguments = []byte(`{"amount":1}`)
			}
			r.Details = test.details
			if got := s.Call(r).String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestServiceSubject: a service account is a user whose issuer is "service", in whatever a policy asks, and owns connections.
func TestServiceSubject(t *testing.T) {
	t.Parallel()
	s := compile(t, bundle(
		`@id("mint") permit (principal, action == Action::"exchange", resource)
		   when { context.subject == User::"acme/service|reporting" && context.subject in Group::"acme/robots" };
		 @id("call") permit (principal, action == Action::"github.search", resource)
		   when { resource has owner && resource.owner == context.subject && context.subject in Org::"acme" };`))
	r := exchangeRequest("github:issues:read")
	r.Subject = Subject{ID: "service:acme/reporting", Groups: []string{"robots"}}
	if d := s.Exchange(r)[0]; !d.Allowed {
		t.Error(d)
	}
	c := callRequest("github.search", "")
	c.Subject, c.Connection.Owner = r.Subject, r.Subject.ID
	if d := s.Call(c); !d.Allowed {
		t.Error(d)
	}
	for _, id := range []string{"service:acme/other", "user:acme/service|reporting", "user:acme/reporting", "service:globex/reporting", "service:acme/", "service:acme", "Service:acme/reporting"} {
		r.Subject.ID = id
		if d := s.Exchange(r)[0]; d.Allowed {
			t.Errorf("%s passes for service:acme/reporting", id)
		}
		c.Connection.Owner = id
		if d := s.Call(c); d.Allowed {
			t.Errorf("%s owns what service:acme/reporting owns", id)
		}
	}
}

// TestDetailProblems: RA2, RA4. What is wrong with a type, or with a policy about one, is said with what was meant.
func TestDetailProblems(t *testing.T) {
	t.Parallel()
	const pay = `@id("a") permit (principal, action == Action::"detail.payment", resource) `
	typ := func(change func(*rar.Type)) func(*Bundle) { return func(b *Bundle) { change(&b.DetailTypes[0]) } }
	cover := func(tool, field, pointer string) func(*Bundle) {
		return typ(func(t *rar.Type) { t.Covers = []rar.Cover{{Tool: tool, Arguments: map[string]string{field: pointer}}} })
	}
	for _, test := range []struct {
		name, text string
		change     func(*Bundle)
		want       string
	}{
		{"a wrong field", pay + `when { context.detail.amont.lessThan(decimal("1.0")) };`, nil,
			"p0.cedar:1:97: the context of `detail.payment` has no attribute `amont` (did you mean `amount`?)"},
		{"an optional field without a test", pay + `when { context.detail.to == "x" };`, nil,
			"p0.cedar:1:97: the attribute `detail.to` may be absent (test it first: `… has to && …`, or `if … has to then … else …`)"},
		{"a decimal compared as a number", pay + `when { context.detail.amount < 100 };`, nil,
			`p0.cedar:1:1: unexpected type: expected datetime, or duration, or Long but saw decimal (decimals compare with .lessThan(decimal("1.00")) and its like)`},
		{"a type for an action", `@id("a") permit (principal, action == Action::"payment", resource);`, nil,
			"p0.cedar:1:47: there is no action `payment` (did you mean `detail.payment`?)"},
		{"a wrong type", `@id("a") permit (principal, action == Action::"detail.paymnet", resource);`, nil,
			"p0.cedar:1:47: there is no action `detail.paymnet` (did you mean `detail.payment`?)"},
		{"a type of an org without types", pay + ";", func(b *Bundle) { b.DetailTypes = nil },
			"p0.cedar:1:47: there is no action `detail.payment` (no type of authorization_details is registered here; of any org's, write " +
				"`action in Action::\"detail\", resource == DetailType::\"payment\"`)"},
		{"a scope that fits no action", `@id("a") permit (principal, action == Action::"detail.payment", resource == Scope::"x");`, nil,
			"p0.cedar:1:1: no action fits the policy's scope (a principal is an Agent; a resource is a Scope for exchange, a DetailType for a detail, and a Connection for a call)"},
		{"details of a tool that needs none", `@id("a") permit (principal, action == Action::"github.search", resource) when { context.details.payment.amount == decimal("1.0") };`, nil,
			"p0.cedar:1:89: the context of `github.search` has no attribute `details` (there are acr, amr, approved, args, depth, now, scopes, subject, tool)"},
		{"RA4 a field without a rule", "", typ(func(t *rar.Type) { delete(t.Narrowing, "to") }),
			`authorization_details: type "payment", field "to": it has no narrowing rule; there are equal, subset, at_most and prefix`},
		{"RA2 a field of any type", "", typ(func(t *rar.Type) { t.Schema = []byte(`{"type":"object","properties":{"to":{}}}`) }),
			`authorization_details: type "payment", field "to": it needs a type, one of string, integer, number, boolean, array and object`},
		{"a tool that is not there", "", cover("payments.transfr", "amount", "/amount"),
			"authorization_details: type \"payment\" covers tool \"payments.transfr\", which no provider has (did you mean `payments.transfer`?)"},
		{"an argument that is not there", "", cover("payments.transfer", "amount", "/amont"),
			"authorization_details: type \"payment\", field \"amount\", tool \"payments.transfer\": it has no argument \"amont\" (did you mean `amount`?)"},
		{"an argument in what has no members", "", cover("payments.transfer", "amount", "/amount/value"),
			`authorization_details: type "payment", field "amount", tool "payments.transfer": the argument "amount" has no members`},
		{"a place that is none", "", cover("github.create_issue", "to", "/labels/first"),
			`authorization_details: type "payment", field "to", tool "github.create_issue": "first" is no place in an array`},
		{"at_most of text", "", cover("github.create_issue", "amount", "/title"),
			`authorization_details: type "payment", field "amount", tool "github.create_issue": the argument is no number, as the rule at_most needs`},
		{"a prefix of a number", "", cover("payments.transfer", "to", "/amount"),
			`authorization_details: type "payment", field "to", tool "payments.transfer": the argument is no string, as the rule prefix needs`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := detailBundle()
			if test.text != "" {
				b = detailBundle(test.text)
			}
			if test.change != nil {
				test.change(&b)
			}
			got := problems(t, b)
			if len(got) != 1 || got[0].String() != test.want {
				t.Errorf("got  %v\nwant %s", got, test.want)
			}
		})
	}
	for name, change := range map[string]func(*Bundle){
		"a place in an array": cover("github.create_issue", "to", "/labels/0"),
		"a set of a set":      cover("github.create_issue", "tags", "/labels"),
		"a hidden argument": func(b *Bundle) {
			b.Providers[1].Tools[0].Args = []byte(`{"type":"object","properties":{"amount":{"oneOf":[{"type":"number"}]},"count":{"type":"integer"}}}`)
		},
		"free-form arguments": func(b *Bundle) { b.Providers[1].Tools[0].Args = []byte(`{"type":"object"}`) },
		"within what is hidden": func(b *Bundle) {
			b.Providers[1].Tools[0].Args = []byte(`{"type":"object","properties":{"total":{"type":"object"},"count":{"type":"integer"}}}`)
			b.DetailTypes[0].Covers[0].Arguments["amount"] = "/total/amount"
		},
	} {
		b := detailBundle()
		change(&b)
		if _, err := Compile(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDetailGuardrails: an operator's policy about details holds in every org, with types and without, and is checked in the
// platform's own bundle.
func TestDetailGuardrails(t *testing.T) {
	t.Parallel()
	rails := []File{{Name: "g.cedar", Text: `
		@id("any") forbid (principal, action in Action::"detail", resource) when { context.depth > 1 };
		@id("one") forbid (principal, action in Action::"detail", resource == DetailType::"payment") when { context.life > 3600 };
		@id("whatever") forbid (principal, action, resource == DetailType::"payment") when { context.depth > 100 };
		@id("named") forbid (principal, action == Action::"detail.payment", resource) when { context.detail.amount.greaterThan(decimal("1000.0")) };`}}
	b := detailBundle(permitAll)
	b.Platform = rails
	s := compile(t, b)
	r := exchangeRequest()
	for id, change := range map[string]func(*ExchangeRequest){
		"":               func(*ExchangeRequest) {},
		"platform/any":   func(r *ExchangeRequest) { r.Depth = 2 },
		"platform/one":   func(r *ExchangeRequest) { r.Life *= 100 },
		"platform/named": func(r *ExchangeRequest) { r.Details = details(t, s, `[{"type":"payment","amount":1000.01}]`) },
	} {
		changed := r
		changed.Details = details(t, s, "["+paymentCents+"]")
		change(&changed)
		if d := s.Details(changed)[0]; d.Allowed != (id == "") || (id != "" && !slices.Equal(d.Policies, []string{id})) {
			t.Errorf("%q: %v", id, d)
		}
	}
	b = bundle(permitAll)
	b.Platform = rails
	s = compile(t, b)
	if got := s.Policies(); !slices.Equal(got, []string{"org/all", "platform/any", "platform/one", "platform/whatever"}) {
		t.Errorf("without types: %v", got)
	}
	if got := s.AbsentActions(); !slices.Equal(got, []string{"detail.payment"}) || len(s.DetailTypes().Names()) != 0 {
		t.Errorf("absent: %v", got)
	}
	platform := Bundle{Org: store.PlatformOrg, Platform: []File{{Name: "g.cedar", Text: rails[0].Text[:strings.Index(rails[0].Text, `@id("named")`)]}}}
	if _, err := Compile(platform); err != nil {
		t.Errorf("the platform's own: %v", err)
	}
}

// TestDetailSchemaText holds the schema of an org with types to a golden file.
func TestDetailSchemaText(t *testing.T) {
	t.Parallel()
	got := compile(t, detailBundle()).Schema()
	const golden = "testdata/details.cedarschema"
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
	if again := compile(t, detailBundle()).Schema(); again != got {
		t.Error("the schema of one bundle differs from run to run")
	}
}

// TestTypesCostNothingElsewhere: an org with types pays for them where it uses them alone. It counts allocations, and so runs by
// itself.
func TestTypesCostNothingElsewhere(t *testing.T) { //nolint:paralleltest // testing.AllocsPerRun counts those of all goroutines
	r, c := exchangeRequest("github:issues:write"), callRequest("github.search", "")
	with, without := compile(t, detailBundle(permitAll)), compile(t, bundle(permitAll))
	for name, ask := range map[string]func(*Set){
		"exchange": func(s *Set) { s.Exchange(r) },
		"call":     func(s *Set) { s.Call(c) },
	} {
		some, none := testing.AllocsPerRun(100, func() { ask(with) }), testing.AllocsPerRun(100, func() { ask(without) })
		if some != none {
			t.Errorf("%s: %v allocations with types, %v without", name, some, none)
		}
	}
}
