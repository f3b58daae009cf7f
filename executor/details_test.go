package executor_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/policy"
)

// budgets are a type that governs what charges, and one that governs what creates.
func budgets(b *policy.Bundle) {
	b.DetailTypes = []rar.Type{
		{
			Name:      "budget",
			Schema:    []byte(`{"type":"object","required":["cents"],"properties":{"cents":{"type":"integer"}}}`),
			Narrowing: map[string]rar.Rule{"cents": rar.AtMost},
			Covers:    []rar.Cover{{Tool: "tracker.charge", Arguments: map[string]string{"cents": "/cents"}}},
		},
		{
			Name:      "project",
			Schema:    []byte(`{"type":"object","required":["names"],"properties":{"names":{"type":"array","items":{"type":"string"}}}}`),
			Narrowing: map[string]rar.Rule{"names": rar.Subset},
			Covers:    []rar.Cover{{Tool: "tracker.create", Arguments: map[string]string{"names": "/project"}}},
		},
	}
	b.Policies = append(b.Policies, policy.File{Name: "budget.cedar", Text: `
@id("no-large-budgets")
forbid (principal, action == Action::"tracker.charge", resource) when { context.details.budget.cents > 5000 };
`})
}

// TestDetails: EX8. A tool that a type governs is called with a detail of it that covers the very arguments, before policy is
// asked; and policy sees that detail.
func TestDetails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	both := func(b *policy.Bundle) { budgets(b) }
	forgotten := func(b *policy.Bundle) {
		budgets(b)
		b.DetailTypes, b.Policies = b.DetailTypes[1:], b.Policies[:1]
	}
	for _, c := range []struct {
		name       string
		bundle     func(*policy.Bundle)
		details    string
		tool, args string
		says       string // of the refusal; empty: the call is made
	}{
		{name: "EX8 within", details: `[{"type":"budget","cents":100}]`, tool: "charge", args: `{"cents":100}`},
		{name: "EX8 beyond", details: `[{"type":"budget","cents":100}]`, tool: "charge", args: `{"cents":101}`, says: "field 'cents'"},
		{name: "EX8 no detail", tool: "charge", args: `{"cents":1}`, says: "type 'budget'"},
		{name: "EX8 a detail of another type", details: `[{"type":"project","names":["apollo"]}]`, tool: "charge", args: `{"cents":1}`, says: "type 'budget'"},
		{name: "EX8 RA4 two details are not joined", details: `[{"type":"budget","cents":60},{"type":"budget","cents":60}]`, tool: "charge", args: `{"cents":100}`, says: "alone"},
		{name: "EX8 one of two", details: `[{"type":"budget","cents":6},{"type":"budget","cents":600}]`, tool: "charge", args: `{"cents":100}`},
		{name: "EX8 one of a list", details: `[{"type":"project","names":["apollo","gemini"]}]`, tool: "create", args: `{"project":"gemini","title":"x"}`},
		{name: "EX8 none of a list", details: `[{"type":"project","names":["apollo"]}]`, tool: "create", args: `{"project":"gemini","title":"x"}`, says: "field 'names'"},
		{name: "EX8 a tool that no type governs", tool: "list", args: `{"project":"apollo"}`},
		{name: "EX8 policy sees the detail", details: `[{"type":"budget","cents":9000}]`, tool: "charge", args: `{"cents":1}`, says: "policy refuses"},
		{name: "EX8 policy has its own say", details: `[{"type":"project","names":["payroll"]}]`, tool: "create", args: `{"project":"payroll","title":"x"}`, says: "policy refuses"},
		{
			name: "EX8 a type that the org has forgotten", bundle: forgotten, details: `[{"type":"budget","cents":100}]`,
			tool: "charge", args: `{"cents":100000}`, says: "not of the types that the org has now",
		},
		{
			name: "EX8 a forgotten type, any tool", bundle: forgotten, details: `[{"type":"budget","cents":100}]`,
			tool: "list", args: `{"project":"apollo"}`, says: "not of the types that the org has now",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bundle := both
			if c.bundle != nil {
				bundle = c.bundle
			}
			r.permit(t, "acme", fmt.Sprintf(record, "http://127.0.0.1:1"), bundle)
			before, calls := len(r.trail(t, "acme")), len(r.calls())
			token := r.token(t, "tracker:read tracker:write", func(claims *delegation.Claims) {
				if c.details != "" {
					claims.AuthorizationDetails = []byte(c.details)
				}
			})
			got, err := r.execute(t.Context(), token, executor.Request{Tool: "tracker." + c.tool, Arguments: []byte(c.args)})
			if c.says == "" {
				if err != nil || got.Result == nil || len(r.calls()) != calls+1 {
					t.Errorf("%+v %v", got, err)
				}
				return
			}
			refused, ok := errors.AsType[*executor.Error](err)
			if !ok || refused.Reason != executor.AccessDenied ||
				!strings.Contains(strings.ReplaceAll(refused.Description, `"`, "'"), c.says) {
				t.Fatalf("got %v, want a refusal saying %q", err, c.says)
			}
			trail := r.trail(t, "acme")[before:]
			if len(r.calls()) != calls || len(trail) != 1 || trail[0].Outcome != audit.OutcomeRefused || trail[0].Reason != "ACCESS_DENIED" {
				t.Errorf("EX10: %d calls, records %+v", len(r.calls())-calls, trail)
			}
		})
	}
}

// TestToolsAndDetails: EX8. A list of tools says nothing of details: which arguments they let through is decided at the call.
func TestToolsAndDetails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.permit(t, "acme", fmt.Sprintf(record, "http://127.0.0.1:1"), budgets)
	tools, err := r.tools(t.Context(), r.token(t, "tracker:write"))
	must(t, err)
	if len(tools) != 2 || tools[0].Name != "tracker.charge" && tools[1].Name != "tracker.charge" {
		t.Errorf("%+v", tools)
	}
}
