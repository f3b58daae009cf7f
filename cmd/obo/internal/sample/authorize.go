package sample

import (
	"crypto/rand"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The public clients with which people sign in.
const (
	AdminClient = "obo-sample-admin" // to administer, for obo login
	PagesClient = "obo-sample-pages" // to connect accounts, for the executor's pages
)

// signIn is what a code of the issuer's stands for.
type signIn struct {
	person        Person
	client, nonce string
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
	i.allow(w, r, q, signIn{person, q.Get("client_id"), q.Get("nonce")}, i.config.Now())
}

// request checks an authorization request for an ID token.
func (i *Issuer) request(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	q, ok := i.authorizer.request(w, r)
	if ok && !slices.Contains(strings.Fields(q.Get("scope")), "openid") {
		i.back(w, r, q, url.Values{"error": {"invalid_scope"}})
		return nil, false
	}
	return q, ok
}

// token is POST /token (RFC 6749 §4.1.3, RFC 7636 §4.6).
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "authorization_code" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	s, ok := i.redeem(r.PostForm, i.config.Now())
	if !ok {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	id, err := i.idToken(s.person, s.client, s.nonce)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
		return
	}
	// The access token is good for nothing here: it is there because the protocol wants one.
	answer(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 60, "id_token": id})
}
