package connection_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// cloud is one server that is the provider of many orgs, and the issuer of their users. Their clients have one id: whose a request is
// shows the secret alone. It knows for each code and token whose it is, and notes what came with another's.
type cloud struct {
	*httptest.Server

	mu      sync.Mutex
	n       int
	secrets map[string]string  // a client's secret, or a key → its org
	codes   map[string]consent // not spent yet
	tokens  map[string]string  // access, refresh and ID tokens → "ORG USER"
	wrong   []string           // what was presented by somebody whose it is not
	calls   map[string]int     // by path
	revoked []string

	scope   string // what the token endpoint says was granted; empty: says nothing
	account string // what /me says; empty: the owner
	refuses string // an error code with which the token endpoint answers for the provider
	once    bool   // no refresh token comes
	iss     bool   // the issuer says that it always says iss
	hold    func() // before the token endpoint answers
}

// consent is what a user agreed to, or who signed in.
type consent struct{ org, user, nonce, challenge string }

func newCloud(t testing.TB) *cloud {
	t.Helper()
	c := &cloud{
		secrets: map[string]string{}, codes: map[string]consent{}, tokens: map[string]string{}, calls: map[string]int{}, scope: "read write",
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": c.URL, "authorization_endpoint": c.URL + "/sign-in", "token_endpoint": c.URL + "/issuer/token",
			"authorization_response_iss_parameter_supported": c.iss,
		})
	})
	mux.HandleFunc("POST /issuer/token", c.token)
	mux.HandleFunc("POST /token", c.token)
	mux.HandleFunc("POST /revoke", c.revoke)
	mux.HandleFunc("GET /me", c.me)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// records are the providers: one of grants and service accounts, one of keys, one of passwords.
func (c *cloud) records() []store.ProviderRecord {
	const tools = `
probe: {method: GET, url: /me, account: /id}
scopes: {"%[2]s:read": Read., "%[2]s:write": Write.}
tools:
  - {name: me, description: Who., method: GET, path: /me, risk: read, scopes: ["%[2]s:read"], arguments: {type: object, additionalProperties: false}}
`
	texts := map[string]string{
		"notes": `
name: notes
base_url: %[1]s
auth:
  oauth: {style: bearer}
  service_account: {style: bearer}
oauth:
  authorize: {url: "%[1]s/authorize", pkce: S256, issuer: "%[1]s/as", issuer_required: true}
  token: {url: "%[1]s/token", client_auth: basic, body: form}
  refresh: {rotation: single_use}
  revoke: {url: "%[1]s/revoke", client_auth: basic, body: form, ends: account}
  scopes: {"notes:read": [read], "notes:write": [read, write]}
service:
  grant: client_credentials
  token: {url: "%[1]s/token", client_auth: basic, body: form}
  response: {}
  scopes: {"notes:read": [read], "notes:write": [read, write]}`,
		"keys":  "\nname: keys\nbase_url: %[1]s\nauth: {api_key: {style: bearer}}",
		"doors": "\nname: doors\nbase_url: %[1]s\nauth: {basic: {style: basic}}",
	}
	var out []store.ProviderRecord
	for name, text := range texts {
		out = append(out, store.ProviderRecord{Name: name + ".yaml", Text: fmt.Appendf(nil, text+tools, c.URL, name)})
	}
	return out
}

// owns makes a secret an org's.
func (c *cloud) owns(org delegation.OrgID, secret string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[secret] = string(org)
	return secret
}

// next is another text that is nobody else's.
func (c *cloud) next(kind, org, user string) string {
	c.n++
	text := fmt.Sprintf("canary-%s-%05d", kind, c.n)
	c.tokens[text] = org + " " + user
	return text
}

// browser follows a redirect to the cloud as a user of an org does who agrees to everything, and returns what it is sent back with.
func (c *cloud) browser(redirect string, org delegation.OrgID, user string) connection.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	u, _ := url.Parse(redirect)
	q := u.Query()
	code := c.next("code", string(org), user)
	c.codes[code] = consent{string(org), user, q.Get("nonce"), q.Get("code_challenge")}
	answer := connection.Answer{State: q.Get("state"), Code: code, Issuer: c.URL}
	if u.Path == "/authorize" {
		answer.Issuer = c.URL + "/as"
	}
	return answer
}

func (c *cloud) token(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	hold := c.hold
	c.mu.Unlock()
	if hold != nil && r.URL.Path == "/token" {
		hold()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[r.URL.Path]++
	_, secret, _ := r.BasicAuth()
	org, known := c.secrets[secret]
	switch {
	case !known:
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	case c.refuses != "" && r.URL.Path == "/token":
		refuse(w, http.StatusBadRequest, c.refuses)
		return
	}
	user, nonce := "robot", ""
	switch r.FormValue("grant_type") {
	case "authorization_code":
		given, there := c.codes[r.FormValue("code")]
		delete(c.codes, r.FormValue("code"))
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !there || base64.RawURLEncoding.EncodeToString(sum[:]) != given.challenge { // RFC 7636 section 4.6
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		c.note(org, given.org, "code")
		user, nonce = given.user, given.nonce
	case "refresh_token":
		owner, there := c.tokens[r.FormValue("refresh_token")]
		if !there {
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		delete(c.tokens, r.FormValue("refresh_token"))
		of, who, _ := strings.Cut(owner, " ")
		c.note(org, of, "refresh token")
		user = who
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": 60, "access_token": c.next("access", org, user)}
	switch {
	case r.URL.Path == "/issuer/token":
		answer["id_token"] = c.next("id-token", org, user+" "+nonce)
	case r.FormValue("grant_type") != "client_credentials":
		if !c.once {
			answer["refresh_token"] = c.next("refresh", org, user)
		}
		if c.scope != "" {
			answer["scope"] = c.scope
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (c *cloud) note(presenter, owner, what string) {
	if presenter != owner {
		c.wrong = append(c.wrong, presenter+" presents a "+what+" of "+owner)
	}
}

func (c *cloud) revoke(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, secret, _ := r.BasicAuth()
	token := r.FormValue("token")
	if owner, known := c.tokens[token]; known {
		of, _, _ := strings.Cut(owner, " ")
		c.note(c.secrets[secret], of, "token to be revoked")
		delete(c.tokens, token)
	}
	c.revoked = append(c.revoked, token)
}

func (c *cloud) me(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls["/me"]++
	owner, known := c.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if name, password, ok := r.BasicAuth(); ok {
		owner, known = c.secrets[password]+" "+name, c.secrets[password] != ""
	} else if org := c.secrets[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; org != "" {
		owner, known = org+" key", true
	}
	if !known {
		refuse(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	if c.account != "" {
		owner = c.account
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"id": owner})
}

// whose is the owner of a token, "ORG USER".
func (c *cloud) whose(token string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens[token]
}

func (c *cloud) called(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[path]
}

// Identify takes the cloud's ID tokens, as the org's token server does.
func (c *cloud) Identify(_ context.Context, org delegation.OrgID, token, clientID, nonce string) (string, error) {
	of, rest, _ := strings.Cut(c.whose(token), " ")
	user, said, _ := strings.Cut(rest, " ")
	switch {
	case user == "down":
		return "", errors.New("the token server does not answer")
	case of != string(org) || said != nonce || nonce == "" || clientID != "client-1" || user == "nobody":
		return "", fmt.Errorf("%w: %s", connection.ErrNobody, "not one of ours")
	}
	return subject(org, user), nil
}

func subject(org delegation.OrgID, user string) string {
	return "user:" + string(org) + "/okta|" + user
}

// trail keeps audit records.
type trail struct {
	mu      sync.Mutex
	records []audit.Record
	broken  error
}

func (t *trail) Record(_ context.Context, r audit.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken != nil {
		return t.broken
	}
	t.records = append(t.records, r)
	return nil
}
