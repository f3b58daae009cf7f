package connection

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/policy"
)

const good = `
name: notes
base_url: https://api.notes.example/v1
auth:
  api_key: {style: bearer}
  developer_secret: {style: header, header: X-Api-Key, template: "Key {secret}"}
  basic: {style: basic}
scopes: {"notes:read": Read., "notes:write": Write.}
answers:
  - {status: [403], header: {name: x-left, value: "0"}, kind: rate_limited}
  - {status: [200], body: {at: /ok, value: false}, kind: revoked}
  - {status: [503], kind: unavailable}
retry_after: {header: x-reset, unit: epoch_seconds, minimum: 5s}
tools:
  - name: get
    description: Get a note.
    method: GET
    path: /notes/{id}
    query: {tag: "{tag}", labels: "{labels}", fixed: "a b"}
    headers: {X-Trace: "t-{trace}"}
    risk: read
    scopes: ["notes:read"]
    arguments:
      type: object
      additionalProperties: false
      required: [id]
      properties:
        id: {type: string, minLength: 1}
        tag: {type: string}
        labels: {type: array, items: {type: string}}
        trace: {type: string}
    result: {at: /note, fields: {id: /id, who: /author/name}, schema: {type: object, required: [id]}}
  - name: add
    description: Add a note.
    method: POST
    path: /notes
    body: {text: "{text}", meta: {n: "{n}", note: "by {text}!", list: ["{n}", "x"]}, on: true, k: 1.5}
    risk: write
    groups: [authoring]
    idempotency_header: Idempotency-Key
    scopes: ["notes:write"]
    arguments:
      type: object
      additionalProperties: false
      required: [text]
      properties:
        text: {type: string, maxLength: 50}
        n: {type: integer, minimum: 0, maximum: 1000}
`

func parse(t testing.TB, text string) Provider {
	t.Helper()
	p, err := ParseProvider("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tool(t testing.TB, p Provider, name string) Tool {
	t.Helper()
	out, ok := p.Tool(name)
	if !ok {
		t.Fatalf("no tool %s", name)
	}
	return out
}

// TestRecordsThatAreRefused: each change of a good record is refused, and the error names the place.
func TestRecordsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, place string }{
		{"unknown key", "name: notes", "name: notes\nbase_uri: x", "base_uri"},
		{"name twice", "name: notes", "name: notes\nname: other", "name"},
		{"anchor", "name: notes", "name: &n notes", "anchors"},
		{"two documents", "name: notes", "---\nname: x\n---\nname: notes", "document"},
		{"bad name", "name: notes", "name: Notes", "name"},
		{"http", "https://api.notes.example/v1", "http://api.notes.example/v1", "base_url"},
		{"user in URL", "https://api.notes.example", "https://u:p@api.notes.example", "base_url"},
		{"query in URL", "example/v1", "example/v1?x=1", "base_url"},
		{"hole in host", "https://api.", "https://{tag}.", "base_url"},
		{"dots in base", "example/v1", "example/v1/../x", "base_url"},
		{"host not in hosts", "auth:", "hosts: [other.example]\nauth:", "hosts"},
		{"wildcard host", "auth:", "hosts: [api.notes.example, '*.example']\nauth:", "hosts"},
		{"no auth style", "{style: bearer}", "{}", "auth/api_key/style"},
		{"query without a reason", "{style: bearer}", "{style: query, query: key}", "auth/api_key/reason"},
		{"template without a secret", "Key {secret}", "Key", "auth/developer_secret/template"},
		{"template with a line break", `"Key {secret}"`, `"Key {secret}\r\nX: y"`, "auth/developer_secret/template"},
		{"credential in Host", "X-Api-Key", "Host", "auth/developer_secret/header"},
		{"basic otherwise", "basic: {style: basic}", "basic: {style: bearer}", "auth/basic"},
		{"unknown pattern", "basic: {style: basic}", "oauth: {style: bearer}", "auth/oauth"},
		{"foreign scope", `"notes:write": Write.`, `"github:write": Write.`, "scopes/github:write"},
		{"unknown kind", "kind: rate_limited", "kind: outcome_unknown", "answers/0/kind"},
		{"answer that fits all", "{status: [503], kind: unavailable}", "{kind: unavailable}", "answers/2"},
		{"bad unit", "epoch_seconds", "minutes", "retry_after/unit"},
		{"operation name", "name: get", "name: Get", "tools/Get/name"},
		{"same tool twice", "name: add", "name: get", "tools/get"},
		{"no description", "description: Get a note.", "description: ''", "tools/get/description"},
		{"method", "method: GET", "method: TRACE", "tools/get/method"},
		{"risk", "risk: read", "risk: harmless", "tools/get/risk"},
		{"DELETE that reads", "method: GET", "method: DELETE", "tools/get/risk"},
		{"no scope", `["notes:read"]`, "[]", "tools/get/scopes"},
		{"scope of nobody", `["notes:read"]`, `["notes:all"]`, "tools/get/scopes"},
		{"path with dots", "/notes/{id}", "/notes/../{id}", "tools/get/path"},
		{"path with a query", "/notes/{id}", "/notes/{id}?a=b", "tools/get/path"},
		{"path to another host", "/notes/{id}", "//evil.example/{id}", "tools/get/path"},
		{"relative path", "/notes/{id}", "notes/{id}", "tools/get/path"},
		{"broken hole", "/notes/{id}", "/notes/{id", "tools/get/path"},
		{"unknown hole", "/notes/{id}", "/notes/{id}/{what}", "tools/get/path"},
		{"optional hole in the path", "/notes/{id}", "/notes/{id}/{tag}", "tools/get/path"},
		{"unused argument", `X-Trace: "t-{trace}"`, `X-Trace: "t"`, "tools/get/arguments/trace"},
		{"credential header", "X-Trace", "Authorization", "tools/get/headers/Authorization"},
		{"cookie header", "X-Trace", "cookie", "tools/get/headers/cookie"},
		{"open arguments", "additionalProperties: false\n      required: [id]", "required: [id]", "tools/get/arguments"},
		{"remote reference", "id: {type: string, minLength: 1}", "id: {$ref: 'https://evil.example/s.json'}", "tools/get/arguments"},
		{"file reference", "id: {type: string, minLength: 1}", "id: {$ref: 'file:///etc/passwd'}", "tools/get/arguments"},
		{"another dialect", "arguments:\n      type: object", "arguments:\n      $schema: 'http://json-schema.org/draft-04/schema'\n      type: object", "$schema"},
		{"quadratic keyword", "labels: {type: array,", "labels: {type: array, uniqueItems: true,", "uniqueItems"},
		{"no schema", "id: {type: string, minLength: 1}", "id: {type: strin}", "tools/get/arguments"},
		{"body with GET", "risk: read", "risk: read\n    body: {a: \"{tag}\"}", "tools/get/body"},
		{"GraphQL with GET", "risk: read", "risk: read\n    graphql: '{ me }'", "tools/get/graphql"},
		{"GraphQL with a list", "body: {text: \"{text}\", meta: {n: \"{n}\", note: \"by {text}!\", list: [\"{n}\", \"x\"]}, on: true, k: 1.5}",
			"graphql: '{ me }'\n    body: [\"{text}\", \"{n}\"]", "tools/add/graphql"},
		{"pointer", "at: /note,", "at: note,", "tools/get/result/at"},
		{"idempotency header", "idempotency_header: Idempotency-Key", "idempotency_header: Content-Length", "tools/add/idempotency_header"},
		{"tool named as a group", "name: get", "name: authoring", "tools/notes.authoring"},
		{"timeout", "tools:", "timeout: 5h\ntools:", "timeout"},
		{"timestamp", "k: 1.5", "k: 2026-11-22", "tools/add/body"},
		{"NUL", "name: notes", "name: \"notes\x00\"", "NUL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatalf("%q is not in the record", c.old)
			}
			_, err := ParseProvider("test.yaml", []byte(text))
			if !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), "test.yaml") {
				t.Errorf("got %v, want an error at %s", err, c.place)
			}
		})
	}
	if _, err := ParseProvider("big.yaml", make([]byte, MaxRecord+1)); !errors.Is(err, ErrRecord) {
		t.Errorf("a record that is too long: %v", err)
	}
	deep := "name: " + strings.Repeat("[", 5000)
	if _, err := ParseProvider("deep.yaml", []byte(deep)); !errors.Is(err, ErrRecord) {
		t.Errorf("a record that is too deep: %v", err)
	}
}

func TestGoodRecord(t *testing.T) {
	t.Parallel()
	p := parse(t, good)
	if p.Name() != "notes" || p.Loopback() || !p.Supports(Basic) || p.Supports("oauth") {
		t.Errorf("%+v", p)
	}
	var names []string
	for _, x := range p.Tools() {
		names = append(names, x.Name())
	}
	if got := strings.Join(names, " "); got != "notes.add notes.get" {
		t.Errorf("tools %s", got)
	}
	if got := parse(t, strings.Replace(good, "https://api.notes.example", "http://127.0.0.1:8080", 1)); !got.Loopback() {
		t.Error("a provider on this machine is not said to be")
	}
}

// TestBuiltinsAreInPolicysWords: the records that come with the program, the examples and the test's own compile into a
// policy schema, and their tools can be told apart in Cedar by name and by group.
func TestBuiltinsAreInPolicysWords(t *testing.T) {
	t.Parallel()
	all := append(Builtin(), parse(t, good))
	if len(all) < 3 {
		t.Fatalf("only %d records", len(all))
	}
	for _, p := range all {
		out := p.PolicyProvider()
		if len(out.Tools) != len(p.Tools()) || len(out.Scopes) == 0 {
			t.Errorf("%s: %+v", p.Name(), out)
		}
		for _, tool := range out.Tools {
			text := `@id("x") permit (principal, action == Action::"` + tool.Name + `", resource);` + "\n"
			for i, g := range tool.Groups {
				text += `@id("g` + string(rune('a'+i)) + `") permit (principal, action in Action::"` + g + `", resource);` + "\n"
			}
			b := policy.Bundle{Org: "acme", Version: "1", Providers: []policy.Provider{out}, Policies: []policy.File{{Name: "x.cedar", Text: text}}}
			if _, err := policy.Compile(b); err != nil {
				t.Errorf("%s: %v", tool.Name, err)
			}
			if !json.Valid(tool.Args) {
				t.Errorf("%s: arguments are no JSON", tool.Name)
			}
		}
	}
}

// FuzzParseProvider: whatever the text, parsing ends with a record or an ErrRecord, and what is accepted can be used.
func FuzzParseProvider(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("name: x\nbase_url: https://a.example\n"))
	f.Add([]byte("a: &a [*a, *a]"))
	files, err := filepath.Glob("providers/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no built-in records", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProvider("fuzz.yaml", text)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("another sort of error: %v", err)
			}
			return
		}
		for _, tool := range p.Tools() {
			args, err := tool.Arguments(nil)
			if err != nil {
				continue
			}
			if r, err := tool.Request(t.Context(), args, "key"); err == nil && r.URL.Host != p.base.Host {
				t.Fatalf("a request to %s", r.URL.Host)
			}
		}
		_ = p.PolicyProvider()
	})
}
