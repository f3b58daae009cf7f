// Package connecthttp serves the pages on which a user connects an account. They need no script, work by keyboard and with a screen
// reader, and are never shown in a frame.
//
// A link proves nothing: whoever opens one has to sign in as the user whom it is for before a provider sees anything, and everything
// after that has to come from the same browser, by a cookie.
package connecthttp

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
)

// Connector is what the pages are for: *connection.Connector.
type Connector interface {
	View(ctx context.Context, org delegation.OrgID, id, browser string) (connection.Page, error)
	BeginSignIn(ctx context.Context, org delegation.OrgID, id string) (redirect, browser string, err error)
	BeginGrant(ctx context.Context, org delegation.OrgID, id, browser string) (redirect string, err error)
	Finish(ctx context.Context, a connection.Answer, browser string) (org delegation.OrgID, id string, err error)
	EnterKey(ctx context.Context, org delegation.OrgID, id, browser string, k connection.Key) error
}

//go:embed pages
var files embed.FS

// Config is what the pages need. Connector and Log are required.
type Config struct {
	Connector Connector
	// Secure is whether browsers come by https. Only on loopback, in development, may it be false.
	Secure bool
	Log    *slog.Logger
}

type pages struct {
	Config
	page  *template.Template
	style []byte
}

var (
	errOrigin = errors.New("connecthttp: a form of another site's")
	errForm   = errors.New("connecthttp: a form that is not ours")
)

// maxForm bounds a form, in bytes.
const maxForm = 32 << 10

// New makes the pages. They are below /connect.
func New(c Config) (http.Handler, error) {
	if c.Connector == nil || c.Log == nil {
		return nil, errors.New("connecthttp: Config needs Connector and Log")
	}
	p := &pages{Config: c}
	var err error
	if p.page, err = template.ParseFS(files, "pages/page.html"); err != nil {
		return nil, err
	}
	if p.style, err = files.ReadFile("pages/style.css"); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /connect/style.css", p.css)
	mux.HandleFunc("GET "+connection.CallbackPath, p.callback)
	mux.HandleFunc("GET /connect/{link}", p.show)
	mux.HandleFunc("GET /connect/{link}/theme.css", p.theme)
	mux.HandleFunc("GET /connect/{link}/sign-in", p.signIn)
	mux.HandleFunc("GET /connect/{link}/grant", p.grant)
	mux.HandleFunc("POST /connect/{link}/key", p.key)
	mux.HandleFunc("/", p.nothing)
	origins := http.NewCrossOriginProtection() // a form of another site's does not reach us
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { p.fail(w, errOrigin) }))
	guarded := origins.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer") // the URL is the link
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		guarded.ServeHTTP(w, r)
	}), nil
}

func (p *pages) css(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(p.style)
}

// theme is the org's own color, where the page is light: our dark one has a color that can be read there.
func (p *pages) theme(w http.ResponseWriter, r *http.Request) {
	org, id, err := link(r)
	var page connection.Page
	if err == nil {
		page, err = p.Connector.View(r.Context(), org, id, p.browser(r, id))
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	if err == nil && page.Theme.Accent != "" { // #rrggbb: connection.Themes has checked it
		_, _ = fmt.Fprintf(w, "@media (prefers-color-scheme: light) { :root { --accent: %s; } }\n", page.Theme.Accent)
	}
}

func (p *pages) nothing(w http.ResponseWriter, _ *http.Request) { p.fail(w, connection.ErrLink) }

// link reads ORG.ID of the path.
func link(r *http.Request) (org delegation.OrgID, id string, err error) {
	o, id, ok := strings.Cut(r.PathValue("link"), ".")
	org, err = delegation.ParseOrgID(o)
	if err != nil || !ok || len(id) > 64 {
		return "", "", connection.ErrLink
	}
	return org, id, nil
}

// cookie is the name of a link's cookie: each link has its own, so that two tabs do not disturb each other.
func (p *pages) cookie(id string) string {
	if p.Secure {
		return "__Host-obo-connect-" + id
	}
	return "obo-connect-" + id
}

func (p *pages) browser(r *http.Request, id string) string {
	c, err := r.Cookie(p.cookie(id))
	if err != nil {
		return ""
	}
	return c.Value
}

func (p *pages) show(w http.ResponseWriter, r *http.Request) {
	org, id, err := link(r)
	if err != nil {
		p.fail(w, err)
		return
	}
	page, err := p.Connector.View(r.Context(), org, id, p.browser(r, id))
	if err != nil {
		p.fail(w, err)
		return
	}
	p.render(w, http.StatusOK, show(page, r.URL.Path))
}

func (p *pages) signIn(w http.ResponseWriter, r *http.Request) {
	org, id, err := link(r)
	if err != nil {
		p.fail(w, err)
		return
	}
	to, browser, err := p.Connector.BeginSignIn(r.Context(), org, id)
	if err != nil {
		p.fail(w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: p.cookie(id), Value: browser, Path: "/", MaxAge: int(connection.AuthorizationLife.Seconds()), Secure: p.Secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // it comes along when the issuer sends the browser back
	})
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (p *pages) grant(w http.ResponseWriter, r *http.Request) {
	org, id, err := link(r)
	if err != nil {
		p.fail(w, err)
		return
	}
	to, err := p.Connector.BeginGrant(r.Context(), org, id, p.browser(r, id))
	if err != nil {
		p.fail(w, err)
		return
	}
	if to == "" { // it ended here
		to = "/connect/" + r.PathValue("link")
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback takes what an issuer or a provider sends back, and leads to a URL without a code.
func (p *pages) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(q[name]) > 1 { // RFC 6749 section 3.1: no parameter twice
			p.fail(w, connection.ErrLink)
			return
		}
	}
	_, id, ok := connection.ParseState(q.Get("state"))
	if !ok {
		p.fail(w, connection.ErrLink)
		return
	}
	org, id, err := p.Connector.Finish(r.Context(), connection.Answer{
		State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Issuer: q.Get("iss"),
	}, p.browser(r, id))
	if err != nil {
		p.fail(w, err)
		return
	}
	http.Redirect(w, r, "/connect/"+string(org)+"."+id, http.StatusSeeOther)
}

func (p *pages) key(w http.ResponseWriter, r *http.Request) {
	org, id, err := link(r)
	if err != nil {
		p.fail(w, err)
		return
	}
	if err := r.ParseForm(); err != nil {
		p.fail(w, errForm)
		return
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			p.fail(w, errForm)
			return
		}
	}
	browser := p.browser(r, id)
	page, err := p.Connector.View(r.Context(), org, id, browser)
	if err != nil {
		p.fail(w, err)
		return
	}
	entered := connection.Key{
		Username: r.PostForm.Get("username"), Secret: []byte(strings.TrimSpace(r.PostForm.Get("secret"))), Settings: map[string]string{},
	}
	for _, s := range page.Settings {
		entered.Settings[s.Name] = strings.TrimSpace(r.PostForm.Get("setting-" + s.Name))
	}
	settings := entered.Settings
	err = p.Connector.EnterKey(r.Context(), org, id, browser, entered)
	switch {
	case err == nil:
		http.Redirect(w, r, "/connect/"+r.PathValue("link"), http.StatusSeeOther)
	case errors.Is(err, connection.ErrInvalid):
		v := show(page, strings.TrimSuffix(r.URL.Path, "/key"))
		v.Alert = "It was not stored. " + sentence(strings.TrimPrefix(err.Error(), connection.ErrInvalid.Error()+": "))
		for i, f := range v.Form.Fields {
			if name, ok := strings.CutPrefix(f.Name, "setting-"); ok {
				v.Form.Fields[i].Value = settings[name]
			}
		}
		p.render(w, http.StatusUnprocessableEntity, v)
	default:
		p.fail(w, err)
	}
}

func (p *pages) render(w http.ResponseWriter, status int, v view) {
	var b bytes.Buffer
	if err := p.page.ExecuteTemplate(&b, "page.html", v); err != nil {
		p.Log.Error("a page cannot be made", "error", err)
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}

// fail says what happened, why, and what to do. It says nothing of whose link it is.
func (p *pages) fail(w http.ResponseWriter, err error) {
	status, v := failure(err)
	if status == http.StatusServiceUnavailable {
		p.Log.Error("a step to connect an account failed", "error", err)
	}
	p.render(w, status, v)
}
