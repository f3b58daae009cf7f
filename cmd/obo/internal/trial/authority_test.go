package trial

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/vault"
)

// authority is a provider with its authorization server. Every value of its own, and of the person's, has canary in it.
type authority struct {
	*httptest.Server
	rotates bool // each refresh gives a new refresh token
	strict  bool // reuse of a spent one ends the grant
	kept    bool // a spent one stays good

	mu        sync.Mutex
	n         int // of the refresh token that is good
	dead      bool
	challenge string
	instead   map[string]instead // by place; see place
	served    []string           // the places in the order in which they were asked
}

// instead is what a place answers instead.
type instead struct {
	status      int
	contentType string
	header      http.Header
	body        string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{instead: map[string]instead{}, rotates: true}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// place names a request: that of a refresh after the revocation is "revoked".
func (a *authority) place(r *http.Request) string {
	switch {
	case r.URL.Path != "/token":
		return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	case r.FormValue("grant_type") != "refresh_token":
		return "exchange"
	case a.dead:
		return "revoked"
	case r.FormValue("refresh_token") == a.refresh(a.n):
		return "refresh"
	}
	return "reuse"
}

func (a *authority) refresh(n int) string { return fmt.Sprintf("canary-refresh-%d", n) }

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	place := a.place(r)
	a.served = append(a.served, place)
	if x, ok := a.instead[place]; ok {
		if x.status == 0 { // no answer
			panic(http.ErrAbortHandler)
		}
		for name, values := range x.header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Type", x.contentType)
		w.WriteHeader(x.status)
		fmt.Fprint(w, x.body)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch place {
	case "exchange":
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		id, secret, _ := r.BasicAuth()
		if r.FormValue("code") != "canary-code" || base64.RawURLEncoding.EncodeToString(sum[:]) != a.challenge ||
			r.FormValue("redirect_uri") != redirect || id != "client-1" || secret != "canary-client-secret" {
			refuse(w, 400, "invalid_grant")
			return
		}
		a.give(w, a.refresh(a.n))
	case "refresh":
		if !a.rotates {
			a.give(w, "")
			return
		}
		a.n++
		a.give(w, a.refresh(a.n))
	case "reuse":
		if a.kept {
			a.give(w, a.refresh(a.n))
			return
		}
		a.dead = a.strict
		refuse(w, 400, "invalid_grant")
	case "revoked":
		refuse(w, 400, "invalid_grant")
	case "revoke":
		a.dead = true
	case "me", "items":
		if got := r.Header.Get("Authorization"); a.dead || !strings.HasPrefix(got, "Bearer canary-") {
			refuse(w, 401, "invalid_token")
			return
		}
		fmt.Fprint(w, `{"email":"canary@example.com","canary@example.com":7,"id":123456789,"titles":["canary","canary","canary"]}`)
	}
}

func (a *authority) give(w http.ResponseWriter, refresh string) {
	fmt.Fprintf(w, `{"access_token":"canary-access-%d","token_type":"Bearer","expires_in":3600,"scope":"read profile"`, a.n)
	if refresh != "" {
		fmt.Fprintf(w, `,"refresh_token":%q`, refresh)
	}
	fmt.Fprint(w, "}")
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q,"error_description":"canary is not welcome"}`, code)
}

const redirect = "http://127.0.0.1:8765/callback"

// record is the authority's, with a change.
func (a *authority) record(t *testing.T, change ...string) connection.Provider {
	t.Helper()
	text := strings.NewReplacer(change...).Replace(strings.ReplaceAll(`
name: notes
base_url: AT/{site}
settings: {site: {description: Which., pattern: "[a-z-]{1,40}"}}
auth:
  oauth: {style: bearer}
  api_key: {style: bearer}
scopes: {"notes:read": Read.}
oauth:
  authorize: {url: "AT/authorize", pkce: S256, issuer: "https://notes.example"}
  token: {url: "AT/token", client_auth: basic, body: form}
  refresh: {rotation: single_use}
  revoke: {url: "AT/revoke", client_auth: basic, body: form}
  scopes: {"notes:read": [read]}
probe: {method: GET, url: /me, account: /email}
tools:
  - name: items
    description: What there is.
    method: GET
    path: /items
    risk: read
    scopes: ["notes:read"]
    arguments: {type: object, additionalProperties: false}
`, "AT", a.URL))
	p, err := connection.ParseProvider("notes.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// browser is a person who grants at once.
type browser struct {
	a      *authority
	change func(url.Values)
	answer chan url.Values
}

func (*browser) RedirectURI() string { return redirect }

func (b *browser) Wait(ctx context.Context) (url.Values, error) {
	select {
	case q := <-b.answer:
		return q, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *browser) open(to string) {
	u, err := url.Parse(to)
	if err != nil {
		return
	}
	b.a.mu.Lock()
	b.a.challenge = u.Query().Get("code_challenge")
	b.a.mu.Unlock()
	q := url.Values{"state": {u.Query().Get("state")}, "code": {"canary-code"}, "iss": {"https://notes.example"}}
	if b.change != nil {
		b.change(q)
	}
	if q != nil && q.Get("never") == "" {
		b.answer <- q
	}
}

// trial is one of the authority's record by OAuth.
func (a *authority) trial(t *testing.T, p connection.Provider, change func(url.Values)) Trial {
	t.Helper()
	b := &browser{a: a, change: change, answer: make(chan url.Values, 1)}
	tool, ok := p.Tool("notes.items")
	if !ok {
		t.Fatal("no tool")
	}
	args, _ := tool.Arguments(nil) // of a record whose tool needs some, the test says them
	return Trial{
		Provider: p, Pattern: connection.OAuth, Scopes: []string{"notes:read"}, Tool: &tool, Arguments: args,
		Client: connection.Client{
			ID: "client-1", Secret: vault.NewCredential("", []byte("canary-client-secret")), Settings: map[string]string{"site": "canary-site"},
		},
		HTTP: a.Client(), Browser: b, Open: b.open, Within: 50 * time.Millisecond, Now: time.Now, Show: func(Step) {},
	}
}
