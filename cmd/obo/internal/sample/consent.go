package sample

import (
	"crypto/rand"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/telemetry"
)

// The public clients by which people let obo into their accounts at the tracker.
const (
	TrackerClient = "obo-sample-executor"
	TestClient    = "obo-sample-test" // obo providers test
)

const (
	accessLife = 5 * time.Minute
	maxGrants  = 1000
)

// consents is the tracker's authorization server (RFC 6749). A refresh token is good for one use; a second one ends the grant (RFC 9700
// §4.14.2). Everything is in memory.
type consents struct {
	authorizer[consent]
	users []string
	now   func() time.Time

	mu     sync.Mutex
	grants []*grant
}

// consent is who lets a client do what.
type consent struct {
	user   string
	scopes []string
}

// grant is a consent that is in use.
type grant struct {
	consent
	id              string
	access, refresh telemetry.Secret
	spent           []telemetry.Secret // refresh tokens
	until           time.Time
}

// scopes are all that the tracker has.
func scopes() []string {
	return []string{"issues:read", "issues:write", "issues:close", "bounties:award"}
}

func newConsents(url string, users []string, now func() time.Time) *consents {
	slices.Sort(users)
	return &consents{users: users, now: now, authorizer: authorizer[consent]{
		url: url, codes: map[string]pending[consent]{}, clients: map[string]string{
			TrackerClient: "http://127.0.0.1/connect/callback", TestClient: "http://127.0.0.1/callback",
		},
	}}
}

func (c *consents) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /oauth/authorize", c.ask)
	mux.HandleFunc("POST /oauth/authorize", c.decide)
	mux.HandleFunc("POST /oauth/token", c.token)
	mux.HandleFunc("POST /oauth/revoke", c.revoke)
	mux.HandleFunc("GET /oauth/grants", c.list)
	mux.HandleFunc("POST /oauth/grants", c.endOne)
	return new(http.CrossOriginProtection).Handler(mux)
}

// consentPage asks a user; grantsPage lets users end what they have allowed. The tracker is for loopback and knows no passwords.
var (
	consentPage = template.Must(template.New("consent").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sample tracker: allow?</title>
<h1>Let {{.Client}} use your account?</h1>
<p>This is the sample tracker of obo dev: it asks for no password.</p>
<form method="post">
<fieldset><legend>It may</legend>{{range .Scopes}}
<p><label><input type="checkbox" name="scope" value="{{.}}" checked> {{.}}</label></p>{{end}}
</fieldset>{{range .Users}}
<p><button name="user" value="{{.}}">Allow, as {{.}}</button></p>{{end}}
<p><button name="user" value="">Refuse</button></p>
</form>
`))
	grantsPage = template.Must(template.New("grants").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sample tracker: what is allowed</title>
<h1>Who may use accounts</h1>
<form method="post">{{range .}}
<p>obo, as {{.User}}: {{range .Scopes}}{{.}} {{end}}<button name="grant" value="{{.ID}}">End it</button></p>{{else}}
<p>Nobody.</p>{{end}}
</form>
`))
)

func (c *consents) ask(w http.ResponseWriter, r *http.Request) {
	q, ok := c.request(w, r)
	if !ok {
		return
	}
	_ = consentPage.Execute(w, map[string]any{"Client": q.Get("client_id"), "Users": c.users, "Scopes": strings.Fields(q.Get("scope"))})
}

// request checks an authorization request for scopes that there are.
func (c *consents) request(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	q, ok := c.authorizer.request(w, r)
	if wanted := strings.Fields(q.Get("scope")); ok && (len(wanted) == 0 || !within(wanted, scopes())) {
		c.back(w, r, q, url.Values{"error": {"invalid_scope"}})
		return nil, false
	}
	return q, ok
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

func (c *consents) decide(w http.ResponseWriter, r *http.Request) {
	q, ok := c.request(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	user := r.PostFormValue("user")
	allowed := consent{user, r.PostForm["scope"]}
	if !slices.Contains(c.users, user) || len(allowed.scopes) == 0 || !within(allowed.scopes, strings.Fields(q.Get("scope"))) {
		c.back(w, r, q, url.Values{"error": {"access_denied"}})
		return
	}
	c.allow(w, r, q, allowed, c.now())
}

// token is POST /oauth/token, for codes and for refresh tokens.
func (c *consents) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	err := r.ParseForm()
	f := r.PostForm
	var g grant
	var ok bool
	switch {
	case err != nil:
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	case c.clients[f.Get("client_id")] == "":
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	case f.Get("grant_type") == "authorization_code":
		var of consent
		if of, ok = c.redeem(f, c.now()); ok {
			g = c.begin(of)
		}
	case f.Get("grant_type") == "refresh_token":
		g, ok = c.refresh(f.Get("refresh_token"))
	default:
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	if !ok {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	answer(w, http.StatusOK, map[string]any{"access_token": g.access.Reveal(), "token_type": "Bearer", "expires_in": int(accessLife.Seconds()),
		"refresh_token": g.refresh.Reveal(), "scope": strings.Join(g.scopes, " ")})
}

// begin makes a grant; the oldest makes room for it.
func (c *consents) begin(of consent) grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.grants) >= maxGrants {
		c.grants = slices.Delete(c.grants, 0, 1)
	}
	g := &grant{consent: of, id: rand.Text()}
	g.renew(c.now())
	c.grants = append(c.grants, g)
	return *g
}

func (g *grant) renew(now time.Time) {
	g.access, g.refresh, g.until = telemetry.Secret(rand.Text()), telemetry.Secret(rand.Text()), now.Add(accessLife)
}

// refresh takes a refresh token for a new one. One that was taken before ends its grant: somebody has stolen it.
func (c *consents) refresh(token string) (grant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.grants {
		switch {
		case same(token, g.refresh):
			g.spent = append(g.spent, g.refresh)
			g.renew(c.now())
			return *g, true
		case slices.ContainsFunc(g.spent, func(old telemetry.Secret) bool { return same(token, old) }):
			c.end(func(other *grant) bool { return other == g })
			return grant{}, false
		}
	}
	return grant{}, false
}

// end ends grants. It is called with the lock held.
func (c *consents) end(which func(*grant) bool) { c.grants = slices.DeleteFunc(c.grants, which) }

// revoke is POST /oauth/revoke (RFC 7009): it has done what it should also when there is no such token.
func (c *consents) revoke(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	err := r.ParseForm()
	f := r.PostForm
	if err != nil || c.clients[f.Get("client_id")] == "" || f.Get("token") == "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(func(g *grant) bool { return same(f.Get("token"), g.refresh) || same(f.Get("token"), g.access) })
	w.WriteHeader(http.StatusOK)
}

func (c *consents) list(w http.ResponseWriter, r *http.Request) {
	if !c.page(w, r) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := make([]map[string]any, len(c.grants))
	for i, g := range c.grants {
		rows[i] = map[string]any{"User": g.user, "Scopes": g.scopes, "ID": g.id}
	}
	_ = grantsPage.Execute(w, rows)
}

func (c *consents) endOne(w http.ResponseWriter, r *http.Request) {
	if !c.page(w, r) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	id := r.PostFormValue("grant")
	c.mu.Lock()
	c.end(func(g *grant) bool { return g.id == id })
	c.mu.Unlock()
	http.Redirect(w, r, "/oauth/grants", http.StatusSeeOther)
}

// allows is what an access token allows now.
func (c *consents) allows(token string) (consent, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.grants, func(g *grant) bool { return same(token, g.access) && c.now().Before(g.until) })
	if i < 0 {
		return consent{}, false
	}
	return c.grants[i].consent, true
}
