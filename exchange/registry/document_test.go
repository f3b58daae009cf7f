package registry_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

const goodYAML = `
org: acme
limits: {max_depth: 4, max_life: 10m}
issuers:
  - name: okta
    url: https://acme.okta.test
    audiences: [obo]
    org_claim: tenant
    org_value: acme
    groups_claim: groups
agents:
  - name: orchestrator
    owner: ops@acme.test
    groups: [orchestrators]
    scopes: [github:read]
  - name: researcher
    controllers: [orchestrator]
    disabled: true
resources:
  - {uri: "https://executor.test", name: executor}
providers:
  - name: github
    scopes: [github:read]
    tools:
      - {name: github.get_issue, provider: github, args: {type: object, properties: {number: {type: integer}}, required: [number]}}
policies:
  - name: a.cedar
    text: |
      @id("all") permit (principal, action == Action::"exchange", resource);
`

const goodJSON = `{"org":"acme","limits":{"max_depth":4,"max_life":"10m"},
"issuers":[{"name":"okta","url":"https://acme.okta.test","audiences":["obo"],"org_claim":"tenant","org_value":"acme","groups_claim":"groups"}],
"agents":[{"name":"orchestrator","owner":"ops@acme.test","groups":["orchestrators"],"scopes":["github:read"]},
 {"name":"researcher","controllers":["orchestrator"],"disabled":true}],
"resources":[{"uri":"https://executor.test","name":"executor"}],
"providers":[{"name":"github","scopes":["github:read"],"tools":[{"name":"github.get_issue","provider":"github",
 "args":{"type":"object","properties":{"number":{"type":"integer"}},"required":["number"]}}]}],
"policies":[{"name":"a.cedar","text":"@id(\"all\") permit (principal, action == Action::\"exchange\", resource);\n"}]}`

func parse(t *testing.T, text string) registry.Document {
	t.Helper()
	d, err := registry.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseYAMLAndJSONAlike(t *testing.T) {
	t.Parallel()
	y, j := parse(t, goodYAML), parse(t, goodJSON)
	raw := cmpopts.AcyclicTransformer("json", func(data []byte) any {
		var v any
		_ = jose.Decode(data, &v)
		return v
	})
	if diff := cmp.Diff(j, y, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Args" }, raw)); diff != "" {
		t.Error(diff)
	}
	if err := y.Validate(); err != nil {
		t.Error(err)
	}
	if time.Duration(y.Limits.MaxLife) != 10*time.Minute {
		t.Error(y.Limits)
	}
	data, err := jose.Encode(j)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, parse(t, string(data))); diff != "" {
		t.Error(diff) // what is stored reads as what was sent
	}
}

func TestParseIsStrict(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"unknown member":      "org: acme\nagent: []",
		"misspelt case":       `{"Org":"acme"}`,
		"repeated in YAML":    "org: acme\norg: globex",
		"repeated in JSON":    `{"org":"acme","org":"globex"}`,
		"second document":     "org: acme\n---\norg: globex",
		"trailing":            `{"org":"acme"} {}`,
		"key of no string":    "org: acme\n1: x",
		"not YAML":            "\t{",
		"empty":               "",
		"a list":              "[]",
		"bad duration":        "org: acme\nlimits: {max_life: 10}",
		"too large":           `{"org":"` + strings.Repeat("a", registry.MaxDocument) + `"}`,
		"400,000 brackets":    strings.Repeat("[", 400_000),
		"400,000 in JSON":     `{"org":` + strings.Repeat("[", 400_000),
		"an alias that grows": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]",
	} {
		_, err := registry.Parse([]byte(text))
		if invalid, ok := errors.AsType[*registry.InvalidError](err); !ok || len(invalid.Error()) > 4096 {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestValidateFindsEverything(t *testing.T) {
	t.Parallel()
	private, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := jose.MarshalPrivateJWK("k", jose.ES256, private)
	if err != nil {
		t.Fatal(err)
	}
	d := registry.Document{
		Org:    "Acme",
		Limits: registry.Limits{MaxDepth: 11, MaxLife: registry.Duration(2 * time.Hour)},
		Issuers: []registry.Issuer{
			{Name: "okta", URL: "http://acme.okta.test", Algorithms: []string{"HS256"}, TokenTypes: []string{"saml2"}, OrgClaim: "tid"},
			{Name: "okta", URL: "http://acme.okta.test", Audiences: []string{"x"}, GroupsClaim: "sub"},
			{Name: "q", URL: "https://x.test?y", Audiences: []string{""}},
		},
		Agents: []registry.Agent{
			{Name: "A", Scopes: []string{"github:read", "a b"}, Controllers: []string{"A", "nobody"}, Groups: []string{"a/b"}},
			{Name: "b", JWKS: []byte(`{"keys":[` + string(secret) + `]}`)},
			{Name: "c", JWKS: []byte(`{}`)},
		},
		Resources: []registry.Resource{
			{URI: "https://R.test"}, {URI: "https://r.test/", Name: "n"}, {URI: "/relative"}, {URI: "https://r.test#f"}, {URI: "https://s.test", Name: "n"},
			{URI: "https://s.test"},
		},
		Providers: []policy.Provider{{Name: "p", Scopes: []string{"x", "x", "\""}}},
	}
	invalid, ok := errors.AsType[*registry.InvalidError](d.Validate())
	if !ok {
		t.Fatal("accepted")
	}
	var paths []string
	for _, p := range invalid.Problems {
		paths = append(paths, p.Path)
	}
	for _, path := range []string{
		"org", "limits/max_depth", "limits/max_life",
		"issuers/okta/url", "issuers/okta/audiences", "issuers/okta/algorithms", "issuers/okta/token_types", "issuers/okta/org_claim", "issuers/okta/name",
		"issuers/okta/groups_claim", "issuers/q/url", "issuers/q/audiences",
		"agents/A/name", "agents/A/scopes", "agents/A/controllers", "agents/A/groups", "agents/b/jwks", "agents/c/jwks",
		"resources/0/uri", "resources/n/uri", "resources/2/uri", "resources/3/uri", "resources/n/name", "resources/5/uri",
		"providers/p/scopes",
	} {
		if !slices.Contains(paths, path) {
			t.Errorf("nothing about %s", path)
		}
	}
	if strings.Contains(invalid.Error(), `"d"`) {
		t.Error("a private key is quoted")
	}
}

func TestValidateAgentsTwice(t *testing.T) {
	t.Parallel()
	d := parse(t, goodYAML)
	d.Agents = append(d.Agents, registry.Agent{Name: "researcher"})
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "agents/researcher/name") {
		t.Errorf("got %v", err)
	}
}

// TestValidatePolicies: a policy with a wrong attribute is refused with file, line and what was meant.
func TestValidatePolicies(t *testing.T) {
	t.Parallel()
	d := parse(t, goodYAML)
	d.Policies[0].Text = "@id(\"x\")\npermit (principal, action == Action::\"exchange\", resource)\nwhen { context.dept < 3 };"
	err := d.Validate()
	if invalid, ok := errors.AsType[*registry.InvalidError](err); !ok || invalid.Problems[0].Path != "policies" || !strings.Contains(err.Error(), "a.cedar:") {
		t.Errorf("got %v", err)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	before, after := parse(t, goodYAML), parse(t, goodYAML)
	if d := registry.Diff(before, after); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	slices.Reverse(after.Agents)
	if d := registry.Diff(before, after); len(d) != 0 {
		t.Errorf("an order is no change: %+v", d)
	}
	after.Agents[0].Disabled = false // researcher
	after.Agents = after.Agents[:1]
	after.Limits.MaxDepth = 0
	after.Resources = append(after.Resources, registry.Resource{URI: "https://r.test"})
	var got []string
	for _, c := range registry.Diff(before, after) {
		got = append(got, c.Kind+" "+c.Path)
		if (c.Before == "") != (c.Kind == "add") || (c.After == "") != (c.Kind == "remove") {
			t.Errorf("%+v", c)
		}
	}
	expected := []string{"remove agents/orchestrator", "change agents/researcher", "remove limits/max_depth", "add resources/https://r.test"}
	if !slices.Equal(got, expected) {
		t.Errorf("got %q", got)
	}
}

func TestNormalURI(t *testing.T) {
	t.Parallel()
	for raw, expected := range map[string]string{
		"https://R.Test":            "https://r.test",
		"HTTPS://r.test/Path?Query": "https://r.test/Path?Query", // RI5: nothing else is normalised
		"https://r.test/":           "https://r.test/",           // another resource than without the slash
		"https://r.test:443":        "https://r.test:443",
		"https://R.test?Q":          "https://r.test?Q",
		"URN:example:Thing":         "urn:example:Thing",
		"https://r.test#x":          "",
		"https://r.test#":           "",
		"/relative":                 "",
		"r.test":                    "",
		"":                          "",
		"https://":                  "",
		"https://u@r.test":          "",
		"https://r.test/a b":        "",
		"https://r.test/\x00":       "",
		"https://r.test/\u00e9":     "",
		"https://r.test/" + strings.Repeat("a", 2048): "",
	} {
		got, ok := registry.NormalURI(raw)
		if got != expected || ok != (expected != "") {
			t.Errorf("%q: got %q, %t", raw, got, ok)
		}
	}
}

// FuzzParse: whatever is uploaded is refused or survives a round trip, at bounded cost.
func FuzzParse(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte(goodJSON))
	f.Add([]byte("org: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := registry.Parse(data)
		if err != nil {
			return
		}
		_ = d.Validate()
		out, err := jose.Encode(d)
		if err != nil {
			t.Fatalf("what was parsed cannot be written: %v", err)
		}
		again, err := registry.Parse(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if changes := registry.Diff(d, again); len(changes) != 0 {
			t.Errorf("%+v", changes)
		}
	})
}
