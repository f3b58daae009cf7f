package connection

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/vault"
)

const quirky = `
name: quirky
base_url: https://api.quirky.example
settings:
  site: {description: The site., pattern: "[^/]{0,40}"}
auth:
  oauth: {style: bearer}
  basic: {style: basic, username: "{username}/token"}
  service_account: {style: bearer}
oauth:
  authorize: {url: "https://quirky.example/authorize", pkce: S256}
  token: {url: "https://quirky.example/token", client_auth: body, body: form}
  refresh: {rotation: unknown}
  response: {access_token: /user/access_token, scope_separator: ","}
  variants:
    - {at: /token_type, value: user, response: {scope: /granted}}
  revoke: {url: "https://quirky.example/apps/{client_id}/grant", method: DELETE, client_auth: basic, body: json, param: access_token, token: access_token}
service:
  token: {url: "https://quirky.example/apps/token", client_auth: none, body: json}
  assertion: {algorithm: ES256, iss: "{client_id}", travels: bearer, backdate: 60s}
scopes: {"quirky:all": All.}
answers:
  - {status: [200], body: {at: /error, value: internal_error}, kind: server_error}
  - {status: [200], body: {at: /error, value: token_expired}, kind: expired}
  - {status: [401], header: {name: www-authenticate, contains: 'error="insufficient_claims"'}, kind: step_up}
tools:
  - name: page
    description: Get a page.
    method: GET
    path: /sites/{site}/pages/{page}
    query: {in: "{site}!"}
    headers: {X-Site: "{site}"}
    risk: read
    scopes: ["quirky:all"]
    arguments: {type: object, additionalProperties: false, required: [page], properties: {page: {type: string}}}
  - name: charge
    description: Charge.
    method: POST
    path: /charges
    encoding: form
    body: {amount: "{amount}", "meta[by]": "obo {who}", note: "{note}"}
    risk: write
    scopes: ["quirky:all"]
    arguments: {type: object, additionalProperties: false, properties: {amount: {type: integer}, who: {type: string}, note: {type: string}}}
`

// sent is the request that a tool's call makes, and its body.
func sent(t *testing.T, name, args string, settings map[string]string) (*http.Request, string) {
	t.Helper()
	x, err := tool(t, parse(t, quirky), name).At(settings)
	if err != nil {
		t.Fatal(err)
	}
	a, err := x.Arguments([]byte(args))
	if err != nil {
		t.Fatal(err)
	}
	r, err := x.Request(t.Context(), a, "")
	if err != nil {
		t.Fatal(err)
	}
	return r, bodyOf(t, r)
}

func bodyOf(t *testing.T, r *http.Request) string {
	t.Helper()
	if r.Body == nil {
		return ""
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSettingsInATool: a setting fills its hole in path, query and header, encoded for each; an argument cannot say it, and one that
// would leave its place is refused.
func TestSettingsInATool(t *testing.T) {
	t.Parallel()
	r, _ := sent(t, "quirky.page", `{"page":"7"}`, map[string]string{"site": "a b"})
	if got := r.URL.String(); got != "https://api.quirky.example/sites/a%20b/pages/7?in=a%20b%21" || r.Header.Get("X-Site") != "a b" {
		t.Errorf("%s, X-Site %q", got, r.Header.Get("X-Site"))
	}
	page := tool(t, parse(t, quirky), "quirky.page")
	for _, bad := range []string{"..", "", "a;b", "a\nb", "a/b", strings.Repeat("x", 41)} {
		if _, err := page.At(map[string]string{"site": bad}); err == nil {
			t.Errorf("setting %q is taken", bad)
		}
	}
	if _, err := page.Arguments([]byte(`{"page":"7","site":"other"}`)); err == nil {
		t.Error("an argument says a setting")
	}
	both := strings.Replace(quirky, "required: [page], properties: {", "required: [page, site], properties: {site: {type: string}, ", 1)
	if _, err := ParseProvider("x.yaml", []byte(both)); !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "arguments/site") {
		t.Errorf("an argument with a setting's name: %v", err)
	}
}

// TestFormBody: a flat form, each value escaped, absent ones left out.
func TestFormBody(t *testing.T) {
	t.Parallel()
	r, body := sent(t, "quirky.charge", `{"amount":5,"who":"a&amount=9"}`, nil)
	if body != "amount=5&meta%5Bby%5D=obo+a%26amount%3D9" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("%s as %s", body, r.Header.Get("Content-Type"))
	}
}

func TestUsernameOfABasicKey(t *testing.T) {
	t.Parallel()
	r, _ := sent(t, "quirky.charge", `{}`, nil)
	if err := parse(t, quirky).Authorize(r, Basic, vault.NewCredential("ann@acme.example", []byte("fake-key"))); err != nil {
		t.Fatal(err)
	}
	if name, secret, _ := r.BasicAuth(); name != "ann@acme.example/token" || secret != "fake-key" {
		t.Errorf("%s:%s", name, secret)
	}
}

func TestPartOfAHeader(t *testing.T) {
	t.Parallel()
	x := tool(t, parse(t, quirky), "quirky.page")
	for value, want := range map[string]Kind{
		`Bearer realm="", error="insufficient_claims", claims="e30="`: StepUp,
		`Bearer realm="", error="invalid_token"`:                      Revoked,
	} {
		f, _ := x.Classify(401, http.Header{"Www-Authenticate": {value}}, nil, OAuth, time.Now())
		if f.Kind != want {
			t.Errorf("%s is understood as %s", value, f.Kind)
		}
	}
}

// TestErrorsIn200: a failure of the provider's is as a 5xx, and a key that has expired is the operator's to replace when the whole org
// shares it.
func TestErrorsIn200(t *testing.T) {
	t.Parallel()
	p := parse(t, quirky)
	for _, c := range []struct {
		tool, code string
		pattern    Pattern
		want       Kind
	}{
		{"quirky.page", "internal_error", OAuth, Unavailable},
		{"quirky.charge", "internal_error", OAuth, OutcomeUnknown},
		{"quirky.charge", "token_expired", OAuth, Expired},
		{"quirky.charge", "token_expired", DeveloperSecret, OperatorConfig},
	} {
		f, _ := tool(t, p, c.tool).Classify(200, nil, []byte(`{"error":"`+c.code+`"}`), c.pattern, time.Now())
		if f.Kind != c.want {
			t.Errorf("%s of %s with %s: %s", c.code, c.tool, c.pattern, f.Kind)
		}
	}
}

// TestVariants: an answer of another shape is read by its own rules, and one that fits none has no token where only another shape
// would have it.
func TestVariants(t *testing.T) {
	t.Parallel()
	p := parse(t, quirky)
	for body, want := range map[string]string{
		`{"access_token":"bot","token_type":"bot","scope":"a","user":{"access_token":"user"}}`: "user a",
		`{"access_token":"again","token_type":"user","granted":"b"}`:                           "again b",
		`{"access_token":"bot","token_type":"bot"}`:                                            "",
		`{"scope":"","user":{"access_token":"app"}}`:                                           "app",
	} {
		g, err := p.ReadGrant(OAuth, 200, nil, []byte(body), time.Now())
		got := strings.TrimSpace(string(g.Access) + " " + strings.Join(g.Scopes, " "))
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%s: %q, %v", body, got, err)
		}
	}
}

// TestClientInAnEndpoint: the client's id stays one segment of the path.
func TestClientInAnEndpoint(t *testing.T) {
	t.Parallel()
	c := Client{ID: "Iv1/x?", Secret: vault.NewCredential("", []byte("fake-secret"))}
	r, err := parse(t, quirky).RevokeRequest(t.Context(), c, vault.NewGrant([]byte("gho_fake"), []byte("ghr_fake")))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.URL.EscapedPath(); got != "/apps/Iv1%2Fx%3F/grant" || r.Method != http.MethodDelete || bodyOf(t, r) != `{"access_token":"gho_fake"}` {
		t.Errorf("%s %s", r.Method, got)
	}
}

// TestAssertionAsBearer: the body holds nothing that the provider did not ask for, and iat lies back as the record says.
func TestAssertionAsBearer(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	account := vault.NewCredential("", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	r, _, err := parse(t, quirky).MintRequest(t.Context(), Client{ID: "Iv1.fake"}, account, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if body := bodyOf(t, r); body != "{}" {
		t.Errorf("the body is %s", body)
	}
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		t.Fatalf("Authorization %q", r.Header.Get("Authorization"))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if want := `{"exp":1700000300,"iat":1699999940,"iss":"Iv1.fake"}`; err != nil || string(payload) != want {
		t.Errorf("%s, %v", payload, err)
	}
}

// TestQuirksThatAreRefused: what a record may not say of them.
func TestQuirksThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, place string }{
		{"encoding: form", "encoding: xml", "tools/charge/encoding"},
		{`note: "{note}"`, `note: {a: "{note}"}`, "tools/charge/body/note"},
		{`username: "{username}/token"`, `username: "token"`, "auth/basic/username"},
		{`username: "{username}/token"`, `username: "{username}:x"`, "auth/basic/username"},
		{"value: user,", "value: '',", "oauth/variants/0"},
		{"name: www-authenticate, contains", "contains", "answers/2/header/name"},
		{"value: token_expired", "value: token_expired, contains: expired", "answers/1/body/contains"},
		{"access_token, token: access_token}", "access_token, ends: everything}", "oauth/revoke/ends"},
		{"backdate: 60s", "backdate: 1h", "service/assertion/backdate"},
		{"{client_id}/grant", "{client}/grant", "oauth/revoke/url"},
	} {
		text := strings.Replace(quirky, c.old, c.new, 1)
		if _, err := ParseProvider("x.yaml", []byte(text)); text == quirky || !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), c.place) {
			t.Errorf("%s: %v", c.new, err)
		}
	}
}
