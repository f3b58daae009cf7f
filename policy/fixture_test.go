package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// bundle is an org with two providers, two agents and the given policies.
func bundle(policies ...string) Bundle {
	b := Bundle{
		Org: "acme", Version: "v1",
		Providers: []Provider{
			{Name: "github", Scopes: []string{"github:issues:write", "github:issues:read"}, Tools: []Tool{
				{Name: "github.create_issue", Provider: "github", Groups: []string{"github.write"}, Args: json.RawMessage(`{
					"type": "object", "required": ["owner", "title"], "additionalProperties": false,
					"properties": {"owner": {"type": "string"}, "title": {"type": "string"}, "labels": {"type": "array", "items": {"type": "string"}}}}`)},
				{Name: "github.search", Groups: []string{"github.read"}},
			}},
			{Name: "payments", Scopes: []string{"payments:transfer"}, Tools: []Tool{
				{Name: "payments.transfer", Args: json.RawMessage(`{
					"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}, "count": {"type": "integer"}}}`)},
			}},
		},
		Agents: []Agent{
			{Name: "orchestrator", Groups: []string{"orchestrators"}, Owner: "platform-team"},
			{Name: "researcher", Groups: []string{"workers"}, Owner: "research", External: true},
		},
		Resources: []string{"https://executor.example"},
	}
	for i, text := range policies {
		b.Policies = append(b.Policies, File{Name: fmt.Sprintf("p%d.cedar", i), Text: text})
	}
	return b
}

func compile(t testing.TB, b Bundle) *Set {
	t.Helper()
	s, err := Compile(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func problems(t testing.TB, b Bundle) []Problem {
	t.Helper()
	_, err := Compile(b)
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("Compile = %v, want an *InvalidError", err)
	}
	return invalid.Problems
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func exchangeRequest(scopes ...string) ExchangeRequest {
	return ExchangeRequest{Actor: "agent:acme/orchestrator", Subject: Subject{ID: "user:acme/okta|00u1", Groups: []string{"engineering"}},
		Chain: []string{"agent:acme/orchestrator"}, Depth: 1, Audience: "https://executor.example", Life: time.Minute, Now: noon, Scopes: scopes}
}

func callRequest(tool, arguments string) CallRequest {
	provider, _, _ := strings.Cut(tool, ".")
	return CallRequest{Actor: "agent:acme/researcher", Subject: Subject{ID: "user:acme/okta|00u1"}, Depth: 2, Now: noon, Tool: tool,
		Connection: Connection{ID: "c1", Provider: provider, Owner: "user:acme/okta|00u1"}, Arguments: []byte(arguments)}
}
