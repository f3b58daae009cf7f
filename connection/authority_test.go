package connection_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// authority is a provider's authorization server with refresh tokens of one of the rotations. It sees everything: how often each
// token was presented, and which is the grant's now.
type authority struct {
	*httptest.Server
	rotation string
	reuse    time.Duration
	ends     string // with a revocation
	now      func() time.Time

	mu        sync.Mutex
	grants    map[string]*grantState // by every refresh token that it ever gave
	presented map[string]int
	served    int
	answer    func(w http.ResponseWriter, r *http.Request) bool // instead of its own, when it says true
	revoked   []string
}

type grantState struct {
	current string
	spent   map[string]time.Time
	access  string
	dead    bool
	n       int
	id      string
}

func newAuthority(t testing.TB, rotation string, reuse time.Duration, now func() time.Time) *authority {
	t.Helper()
	a := &authority{rotation: rotation, reuse: reuse, now: now, grants: map[string]*grantState{}, presented: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", a.token)
	mux.HandleFunc("POST /revoke", a.revoke)
	mux.HandleFunc("GET /me", a.me)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// grant makes a new grant and returns its tokens.
func (a *authority) grant(id string) (access, refresh string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := &grantState{id: id, spent: map[string]time.Time{}}
	g.rotate()
	a.grants[g.current] = g
	return g.access, g.current
}

func (g *grantState) rotate() {
	g.n++
	g.current, g.access = fmt.Sprintf("canary-refresh-%s-%04d", g.id, g.n), fmt.Sprintf("canary-access-%s-%04d", g.id, g.n)
}

func (a *authority) token(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.served++
	if a.answer != nil && a.answer(w, r) {
		return
	}
	id, secret, _ := r.BasicAuth()
	token := r.FormValue("refresh_token")
	a.presented[token]++
	g, known := a.grants[token]
	switch {
	case id != "client-1" || secret != "canary-client-secret":
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	case !known || g.dead:
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	if at, again := g.spent[token]; again && a.rotation == "single_use" && (a.reuse == 0 || a.now().Sub(at) > a.reuse) {
		g.dead = true // reuse is taken for theft: the whole family goes
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	out := map[string]any{"token_type": "Bearer", "expires_in": 3600, "scope": "read write"}
	if a.rotation == "never" {
		g.n++
		g.access = fmt.Sprintf("canary-access-%s-%04d", g.id, g.n)
	} else {
		g.spent[token] = a.now()
		g.rotate()
		a.grants[g.current] = g
		out["refresh_token"] = g.current
	}
	out["access_token"] = g.access
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q,"error_description":"canary-description"}`, code)
}

func (a *authority) revoke(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token := r.FormValue("token")
	a.revoked = append(a.revoked, token)
	if g, known := a.grants[token]; known {
		g.dead = true
	}
}

func (a *authority) me(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.grants {
		if !g.dead && r.Header.Get("Authorization") == "Bearer "+g.access {
			fmt.Fprintf(w, `{"id":%q}`, g.id)
			return
		}
	}
	refuse(w, http.StatusUnauthorized, "invalid_token")
}

// current is the refresh token that the provider would take now, for a grant that began with first.
func (a *authority) current(first string) (token, access string, alive bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.grants[first]
	return g.current, g.access, !g.dead
}

// most is how often the token was presented that was presented most, and how many requests there were.
func (a *authority) most() (times, requests int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.presented {
		times = max(times, n)
	}
	return times, a.served
}

// record is the authority's provider record.
func (a *authority) record() []byte {
	reuse := ""
	if a.reuse > 0 {
		reuse = fmt.Sprintf(", reuse: %s", a.reuse)
	}
	return fmt.Appendf(nil, `
name: notes
base_url: %[1]s
auth:
  oauth: {style: bearer}
  api_key: {style: bearer}
scopes: {"notes:read": Read., "notes:write": Write.}
oauth:
  authorize: {url: "%[1]s/authorize", pkce: S256}
  token: {url: "%[1]s/token", client_auth: basic, body: form}
  refresh: {rotation: %[2]s%[3]s}
  revoke: {url: "%[1]s/revoke", client_auth: basic, body: form, ends: %[4]s}
  scopes: {"notes:read": [read], "notes:write": [read, write]}
tools:
  - name: me
    description: Who it is.
    method: GET
    path: /me
    risk: read
    scopes: ["notes:read"]
    arguments: {type: object, additionalProperties: false}
`, a.URL, a.rotation, reuse, cmp.Or(a.ends, "grant"))
}
