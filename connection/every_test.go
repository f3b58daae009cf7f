package connection

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/vault"
)

// TestEveryRecordMakesItsRequests: whatever fits a record's settings and a tool's schema makes a request, and it goes to one of the
// record's hosts. A record that parses and can never be used is found here.
func TestEveryRecordMakesItsRequests(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	account := vault.NewCredential("account", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	for _, p := range Builtin() {
		t.Run(p.Name(), func(t *testing.T) {
			t.Parallel()
			c := Client{ID: "client", Secret: vault.NewCredential("", []byte("fake-secret")), Settings: map[string]string{}}
			for name, s := range p.settings {
				if c.Settings[name] = s.Default; s.Default == "" {
					c.Settings[name] = filled(s.Pattern)
				}
			}
			makesGrants(t, p, c, account)
			for _, x := range p.Tools() {
				makesCalls(t, x, c.Settings)
			}
		})
	}
}

// filled is a text for a pattern, and not the empty one.
func filled(pattern string) string {
	g := rapid.StringMatching(`\A(?:` + strings.TrimPrefix(pattern, "|") + `)\z`)
	for seed := 1; ; seed++ {
		if v := g.Example(seed); v != "" && v != "." && v != ".." && len(v) <= maxSetting {
			return v
		}
	}
}

func makesGrants(t *testing.T, p Provider, c Client, account vault.Credential) {
	t.Helper()
	if p.Supports(OAuth) {
		_, err := p.AuthorizeURL(c, Ask{Scopes: []string{"a"}, State: "s", Challenge: "c", RedirectURI: "https://obo.example/callback"})
		_, err2 := p.CodeRequest(t.Context(), c, "code", "verifier", "https://obo.example/callback")
		_, err3 := p.RefreshRequest(t.Context(), c, []byte("refresh"), "https://obo.example/callback")
		if err := errors.Join(err, err2, err3); err != nil {
			t.Error(err)
		}
		if can, _ := p.Revokes(); can {
			if _, err := p.RevokeRequest(t.Context(), c, vault.NewGrant([]byte("access"), []byte("refresh"))); err != nil {
				t.Error(err)
			}
		}
	}
	if p.Supports(ServiceAccount) && (p.service.assertion == nil || p.service.assertion.algorithm == "RS256") {
		r, g, err := p.MintRequest(t.Context(), c, account, p.ScopesFor(ServiceAccount, p.scopes), time.Now())
		if err != nil || (r == nil) == (len(g.Access) == 0) {
			t.Errorf("a token of the service account: %v", err)
		}
	}
}

func makesCalls(t *testing.T, x Tool, settings map[string]string) {
	t.Helper()
	placed, err := x.At(settings)
	if err != nil {
		t.Errorf("%s: %v", x.Name(), err)
		return
	}
	var schema map[string]any
	if err := json.Unmarshal(x.InputSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(sample(schema))
	if err != nil {
		t.Fatal(err)
	}
	args, err := placed.Arguments(text)
	if err != nil {
		t.Errorf("%s: %s: %v", x.Name(), text, err)
		return
	}
	r, err := placed.Request(t.Context(), args, "key")
	if err != nil || !placed.provider.mayCall(r.URL.Hostname()) {
		t.Errorf("%s: %s: %v", x.Name(), text, err)
	}
}

// sample is a value that a schema accepts, with everything in it that may be there.
func sample(schema map[string]any) any {
	if all, ok := schema["enum"].([]any); ok {
		return all[0]
	}
	if v, ok := schema["const"]; ok {
		return v
	}
	kind, _ := schema["type"].(string)
	if list, ok := schema["type"].([]any); ok {
		kind, _ = list[0].(string)
	}
	switch kind {
	case "string":
		return sampleText(schema)
	case "integer", "number":
		if least, ok := schema["minimum"]; ok {
			return least
		}
		return 1
	case "boolean":
		return true
	case "array":
		items, _ := schema["items"].(map[string]any)
		return []any{sample(items)}
	}
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		sub, _ := properties[name].(map[string]any)
		out[name] = sample(sub)
	}
	if more, ok := schema["additionalProperties"].(map[string]any); ok {
		out["Name"] = sample(more)
	} else if _, some := schema["minProperties"]; some && len(out) == 0 {
		out["Name"] = "x"
	}
	return out
}

func sampleText(schema map[string]any) string {
	switch schema["format"] {
	case "date-time":
		return "2026-11-28T12:00:00Z"
	case "date":
		return "2026-11-28"
	case "email":
		return "ann@acme.example"
	case "uri":
		return "https://acme.example/"
	case "uuid":
		return "3c90c3cc-0d44-4b50-8888-8dd25736052a"
	}
	if pattern, ok := schema["pattern"].(string); ok {
		return filled(pattern)
	}
	if least, ok := schema["minLength"].(float64); ok {
		return strings.Repeat("x", max(1, int(least)))
	}
	return "x"
}
