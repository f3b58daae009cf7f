//go:build slow

package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// strict is a provider as strict as they come: a refresh token is good for one use, and one that comes twice ends the grant. It takes
// its time, so that whoever is killed may be at anything. It sees everything.
type strict struct {
	url string

	mu     sync.Mutex
	rnd    *rand.Rand
	tokens map[string]*spent  // by every refresh token that it ever gave
	access map[string]*family // by the access tokens that are good
}

// family is one grant, of one connection.
type family struct {
	id              string
	access, refresh string
	accessed        time.Time // when access was given
	dead            bool
	n               int
}

// spent is what became of a refresh token.
type spent struct {
	family            *family
	times             int
	arrived, answered time.Time
}

const (
	expiresIn = 12 * time.Second // an executor stops spending an access token 10 s before
	goodFor   = time.Second      // and this provider takes it for less than what remains
	slowest   = 60 * time.Millisecond
)

func newStrict(t *testing.T, seed uint64) *strict {
	t.Helper()
	s := &strict{rnd: rand.New(rand.NewPCG(seed, 1)), tokens: map[string]*spent{}, access: map[string]*family{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("GET /me", s.me)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// grant begins a family, and returns its tokens.
func (s *strict) grant(id string) (access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &family{id: id}
	s.rotate(f)
	return f.access, f.refresh
}

func (s *strict) rotate(f *family) {
	delete(s.access, f.access)
	f.n++
	f.access, f.refresh = fmt.Sprintf("canary-access-%s-%04d", f.id, f.n), fmt.Sprintf("canary-refresh-%s-%04d", f.id, f.n)
	f.accessed = time.Now()
	s.access[f.access], s.tokens[f.refresh] = f, &spent{family: f}
}

// linger takes some time, often none.
func (s *strict) linger() {
	s.mu.Lock()
	d := max(0, time.Duration(s.rnd.Int64N(int64(3*slowest)/2))-slowest/2)
	s.mu.Unlock()
	time.Sleep(d)
}

func (s *strict) token(rw http.ResponseWriter, r *http.Request) {
	token := r.FormValue("refresh_token")
	s.mu.Lock()
	was, known := s.tokens[token]
	if known {
		was.times++
		was.arrived = time.Now()
	}
	s.mu.Unlock()
	s.linger()
	rw.Header().Set("Content-Type", "application/json")
	answer, good := s.spend(was)
	s.linger()
	if !good {
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(rw, `{"error":"invalid_grant"}`)
		return
	}
	s.mu.Lock()
	was.answered = time.Now()
	s.mu.Unlock()
	_ = json.NewEncoder(rw).Encode(answer)
}

func (s *strict) spend(was *spent) (answer map[string]any, good bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was == nil {
		return nil, false
	}
	f := was.family
	if was.times > 1 {
		f.dead = true
	}
	if f.dead {
		return nil, false
	}
	s.rotate(f)
	return map[string]any{
		"token_type": "Bearer", "access_token": f.access, "refresh_token": f.refresh, "expires_in": expiresIn.Seconds(), "scope": "read",
	}, true
}

func (s *strict) me(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	f, ok := s.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok || f.dead || time.Since(f.accessed) > goodFor {
		rw.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(rw, `{"error":"invalid_token"}`)
		return
	}
	fmt.Fprintf(rw, `{"id":%q}`, f.id)
}

// of is what became of a refresh token, and its grant as it is now.
func (s *strict) of(refresh string) (was spent, f family, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is, known := s.tokens[refresh]
	if !known {
		return spent{}, family{}, false
	}
	return *is, *is.family, true
}

// count is how many refresh tokens were presented, and those that were more than once.
func (s *strict) count() (presented int, twice []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, was := range s.tokens {
		if was.times > 0 {
			presented++
		}
		if was.times > 1 {
			twice = append(twice, token)
		}
	}
	return presented, twice
}

// record is its record, as an org would apply it.
func (s *strict) record() string {
	return fmt.Sprintf(`
name: notes
description: Notes.
base_url: %[1]s
auth:
  oauth: {style: bearer}
scopes: {"notes:read": Read.}
oauth:
  authorize: {url: "%[1]s/authorize", pkce: S256}
  token: {url: "%[1]s/token", client_auth: basic, body: form}
  refresh: {rotation: single_use}
  no_revoke: End it there.
  scopes: {"notes:read": [read]}
tools:
  - name: me
    description: Who it is.
    method: GET
    path: /me
    risk: read
    scopes: ["notes:read"]
    arguments: {type: object, additionalProperties: false}
`, s.url)
}

// strictPolicy is what the token server knows of it.
var strictPolicy = map[string]any{
	"name": "notes", "scopes": []string{"notes:read"},
	"tools": []any{map[string]any{
		"name": "notes.me", "provider": "notes", "groups": []string{"read"}, "args": schema(`{"type":"object","additionalProperties":false}`),
	}},
}

const strictPolicies = `
@id("staff-may-read-notes")
permit (principal in AgentGroup::"acme/staff", action == Action::"exchange", resource in Provider::"notes")
when { context.subject in Group::"acme/engineering" };

@id("read-notes")
permit (principal in AgentGroup::"acme/staff", action == Action::"notes.me", resource);
`
