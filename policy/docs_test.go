package policy_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/policy"
)

// block is a fenced block of a document.
type block struct{ language, text string }

func blocks(doc string) []block {
	var out []block
	for i, part := range strings.Split("\n"+doc, "\n```") {
		if language, text, _ := strings.Cut(part, "\n"); i%2 == 1 {
			out = append(out, block{language, text})
		}
	}
	return out
}

// docBundle is the org that docs/POLICY.md speaks of: its YAML and its policies, with the tool that they are about.
func docBundle(t *testing.T, doc []block) policy.Bundle {
	t.Helper()
	b := policy.Bundle{Org: "acme"}
	for _, block := range doc {
		switch block.language {
		case "yaml":
			var raw any
			if err := yaml.Unmarshal([]byte(block.text), &raw); err != nil {
				t.Fatalf("%v:\n%s", err, block.text)
			}
			b.DetailTypes = append(b.DetailTypes, convert[policy.Bundle](t, raw).DetailTypes...)
		case "cedar":
			b.Policies = append(b.Policies, policy.File{Name: "POLICY.md", Text: block.text})
		}
	}
	b.Version, b.Resources = "1", []string{"https://executor.example"}
	payers := []string{"payers"}
	b.Agents = []policy.Agent{{Name: "orchestrator", Groups: payers}, {Name: "payer", Groups: payers}}
	pay := policy.Tool{Name: "github.pay_bounty", Args: json.RawMessage(`{"type": "object", "additionalProperties": false,
		"required": ["repository", "amount", "currency", "issue"], "properties": {"repository": {"type": "string"},
			"amount": {"type": "number"}, "currency": {"type": "string"}, "issue": {"type": "integer"}}}`)}
	b.Providers = []policy.Provider{
		{Name: "tracker", Scopes: []string{"tracker:issues:write"}},
		{Name: "github", Scopes: []string{"github:bounties:pay"}, Tools: []policy.Tool{pay}},
	}
	return b
}

// story plays the JSON blocks of the document one after the other.
type story struct {
	set  *policy.Set
	have rar.Details // of the token that the story has come to
}

// request asks for details: at first those of a first hop, then each time those of the next.
func (s *story) request(raw json.RawMessage) error {
	asked, err := s.set.DetailTypes().Parse(raw)
	if err != nil {
		return err
	}
	if !s.have.Empty() {
		if err := asked.Within(s.have); err != nil {
			return err
		}
	}
	for _, d := range s.set.Details(policy.ExchangeRequest{
		Actor: "agent:acme/orchestrator", Chain: []string{"agent:acme/orchestrator"}, Depth: 1, Life: time.Minute,
		Subject:  policy.Subject{ID: "user:acme/okta|00u1", Groups: []string{"engineering"}},
		Audience: "https://executor.example", Details: asked.List(),
	}) {
		if !d.Allowed {
			return errors.New(d.Reason)
		}
	}
	s.have = asked
	return nil
}

func (s *story) call(tool string, arguments json.RawMessage) error {
	covering, err := s.set.DetailTypes().Cover(s.have.JSON(), tool, arguments)
	if err != nil {
		return err
	}
	d := s.set.Call(policy.CallRequest{
		Actor: "agent:acme/payer", Subject: policy.Subject{ID: "user:acme/okta|00u1"}, Depth: 2,
		Tool: tool, Arguments: arguments, Details: covering,
		Connection: policy.Connection{ID: "c1", Provider: "github", Owner: "user:acme/okta|00u1"},
	})
	if !d.Allowed {
		return errors.New(d.Reason)
	}
	return nil
}

// TestDocument: EX8, RA3. What docs/POLICY.md shows compiles, and what it tells happens: a block of JSON is a request or a call,
// and the text behind it is the refusal.
func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/POLICY.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := blocks(string(text))
	set, err := policy.Compile(docBundle(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	s := story{set: set}
	requests, calls, refusals := 0, 0, 0
	for i, b := range doc {
		if b.language != "json" {
			continue
		}
		step := struct {
			Details   json.RawMessage `json:"authorization_details"`
			Tool      string          `json:"tool"`
			Arguments json.RawMessage `json:"arguments"`
		}{}
		if err := json.Unmarshal([]byte(b.text), &step); err != nil {
			t.Fatalf("%v:\n%s", err, b.text)
		}
		want := ""
		if i+1 < len(doc) && doc[i+1].language == "text" {
			want = "rar: " + strings.TrimSpace(doc[i+1].text)
			refusals++
		}
		if step.Details != nil {
			requests++
			err = s.request(step.Details)
		} else {
			calls++
			err = s.call(step.Tool, step.Arguments)
		}
		if (err == nil) != (want == "") || (err != nil && err.Error() != want) {
			t.Errorf("%s\ngot  %v\nwant %s", b.text, err, want)
		}
	}
	if requests < 3 || calls < 3 || refusals < 3 || len(set.Policies()) < 4 {
		t.Errorf("%d requests, %d calls, %d refusals, policies %v: the document has lost some",
			requests, calls, refusals, set.Policies())
	}
}
