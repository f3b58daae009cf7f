package sample

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// The public clients with which people sign in.
const (
	AdminClient = "obo-sample-admin" // to administer, for obo login
	PagesClient = "obo-sample-pages" // to connect accounts, for the executor's pages
)

// registered is the redirect URI of a client, on any port (RFC 8252 §7.3); empty: there is no such client.
func registered(client string) string {
	switch client {
	case AdminClient:
		return "http://127.0.0.1/callback"
	case PagesClient:
		return "http://127.0.0.1/connect/callback"
	}
	return ""
}

const (
	codeLife = time.Minute
	maxCodes = 256
)

// codes are the authorization codes that were not used yet.
type codes struct {
	mu      sync.Mutex
	pending map[string]grant
}

// grant is what a code stands for.
type grant struct {
	person                     Person
	client                     string
	redirect, nonce, challenge string
	until                      time.Time
}

// put makes a code, unless there are too many.
func (c *codes) put(g grant, now time.Time) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for code, old := range c.pending {
		if !now.Before(old.until) {
			delete(c.pending, code)
		}
	}
	if len(c.pending) >= maxCodes {
		return "", false
	}
	code := rand.Text()
	c.pending[code] = g
	return code, true
}

// take gives a code away, once, whatever comes of it (RFC 6749 §4.1.2).
func (c *codes) take(code string, now time.Time) (grant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.pending[code]
	delete(c.pending, code)
	return g, ok && now.Before(g.until)
}

// page lets whoever has the browser choose who to be. The issuer is for loopback and knows no passwords.
var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sample sign-in</title>
<h1>Who are you?</h1>
<p>This is the sample OpenID provider of obo dev: it asks for no password. {{.Client}} wants to know.</p>
<form method="post">{{range .People}}
<p><button name="user" value="{{.Name}} of {{.Org}}">{{.Name}} of {{.Org}}</button></p>{{end}}
<p><button name="user" value="">Nobody: refuse</button></p>
</form>
`))

// ask is GET /authorize (OpenID Connect Core §3.1.2.1): it shows the page.
func (i *Issuer) ask(w http.ResponseWriter, r *http.Request) {
	q, ok := i.request(w, r)
	if !ok {
		return
	}
	_ = page.Execute(w, map[string]any{"Client": q.Get("client_id"), "People": People()})
}

// decide is POST /authorize: somebody was chosen.
func (i *Issuer) decide(w http.ResponseWriter, r *http.Request) {
	q, ok := i.request(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	name, org, _ := strings.Cut(r.PostFormValue("user"), " of ")
	person, ok := Find(name, org)
	if !ok {
		i.back(w, r, q, url.Values{"error": {"access_denied"}})
		return
	}
	now := i.config.Now()
	code, ok := i.codes.put(grant{
		person: person, client: q.Get("client_id"), redirect: q.Get("redirect_uri"), nonce: q.Get("nonce"), challenge: q.Get("code_challenge"),
		until: now.Add(codeLife),
	}, now)
	if !ok {
		i.back(w, r, q, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	i.back(w, r, q, url.Values{"code": {code}})
}

// request checks an authorization request. What is wrong with the client or where the answer goes is told to the browser alone;
// everything else goes back to the client.
func (i *Issuer) request(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	q, err := url.ParseQuery(r.URL.RawQuery)
	own, _ := url.Parse(i.config.URL)
	switch {
	case r.Host != own.Host: // a name that was rebound to loopback
		http.Error(w, "this is not "+own.Host, http.StatusMisdirectedRequest)
		return nil, false
	case err != nil || !goesTo(q.Get("redirect_uri"), registered(q.Get("client_id"))):
		http.Error(w, "client_id or redirect_uri is not registered", http.StatusBadRequest)
		return nil, false
	case q.Get("response_type") != "code":
		i.back(w, r, q, url.Values{"error": {"unsupported_response_type"}})
		return nil, false
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		i.back(w, r, q, url.Values{"error": {"invalid_request"}, "error_description": {"PKCE with S256 is required"}})
		return nil, false
	case !slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		i.back(w, r, q, url.Values{"error": {"invalid_scope"}})
		return nil, false
	}
	return q, true
}

// goesTo compares a redirect URI with the registered one, but for the port.
func goesTo(uri, registered string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Port() == "" {
		return false
	}
	u.Host = u.Hostname()
	return u.String() == registered
}

// back answers the client, by way of the browser. The answer names who gives it (RFC 9207).
func (i *Issuer) back(w http.ResponseWriter, r *http.Request, q, answer url.Values) {
	answer.Set("iss", i.config.URL)
	if q.Has("state") {
		answer.Set("state", q.Get("state"))
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+answer.Encode(), http.StatusSeeOther)
}

// token is POST /token (RFC 6749 §4.1.3, RFC 7636 §4.6).
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "authorization_code" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	f := r.PostForm
	g, ok := i.codes.take(f.Get("code"), i.config.Now())
	if !ok || f.Get("client_id") != g.client || f.Get("redirect_uri") != g.redirect ||
		!proves(f.Get("code_verifier"), g.challenge) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	id, err := i.idToken(g.person, g.client, g.nonce)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
		return
	}
	// The access token is good for nothing here: it is there because the protocol wants one.
	answer(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 60, "id_token": id})
}

// proves holds a verifier against the challenge.
func proves(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
