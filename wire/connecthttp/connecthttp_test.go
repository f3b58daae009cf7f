package connecthttp_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/connecthttp"
)

// scripted is a Connector that answers as a test says, and notes what it was asked.
type scripted struct {
	page    connection.Page
	err     error
	browser string
	answer  connection.Answer
	key     connection.Key
	calls   int
}

func (s *scripted) View(_ context.Context, _ delegation.OrgID, _, browser string) (connection.Page, error) {
	s.browser = browser
	if errors.Is(s.err, connection.ErrInvalid) {
		return s.page, nil
	}
	return s.page, s.err
}

func (s *scripted) BeginSignIn(context.Context, delegation.OrgID, string) (redirect, browser string, err error) {
	s.calls++
	return "https://issuer.example/sign-in?state=x", "cookie-value", s.err
}

func (s *scripted) BeginGrant(_ context.Context, _ delegation.OrgID, _, browser string) (string, error) {
	s.calls, s.browser = s.calls+1, browser
	return "https://provider.example/authorize", s.err
}

func (s *scripted) Finish(_ context.Context, a connection.Answer, browser string) (delegation.OrgID, string, error) {
	s.calls, s.answer, s.browser = s.calls+1, a, browser
	return "acme", "id1", s.err
}

func (s *scripted) EnterKey(_ context.Context, _ delegation.OrgID, _, browser string, k connection.Key) error {
	s.calls, s.key, s.browser = s.calls+1, k, browser
	return s.err
}

func serve(t *testing.T, s *scripted, secure bool, r *http.Request) *http.Response {
	t.Helper()
	h, err := connecthttp.New(connecthttp.Config{Connector: s, Secure: secure, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	response := w.Result()
	guarded(t, response)
	return response
}

// guarded: every answer, of whatever kind, keeps browsers from framing it, from running a script, and from telling the link to others.
func guarded(t *testing.T, r *http.Response) {
	t.Helper()
	policy := r.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("%d: Content-Security-Policy without %s: %s", r.StatusCode, part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
		t.Error(policy)
	}
	for name, value := range map[string]string{
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%d: %s is %q", r.StatusCode, name, got)
		}
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" && !strings.HasPrefix(r.Header.Get("Content-Type"), "text/css") {
		t.Errorf("Cache-Control is %q", got)
	}
}

// element is a part of a page.
type element struct {
	name       string
	attributes map[string]string
	text       string
}

// page reads a page, and holds it to what a screen reader needs (WCAG 2.2: 1.3.1, 2.4.2, 3.1.1, 3.3.2, 4.1.2).
func page(t *testing.T, r *http.Response) (text string, elements []element) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html; charset=utf-8") {
		t.Fatal(err, r.Header)
	}
	d := xml.NewDecoder(strings.NewReader(string(body)))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attributes: map[string]string{}}
			for _, a := range token.Attr {
				e.attributes[a.Name.Local] = a.Value
			}
			elements = append(elements, e)
		case xml.CharData:
			if len(elements) > 0 {
				elements[len(elements)-1].text += string(token)
			}
		}
	}
	count, labels := map[string]int{}, map[string]bool{}
	for _, e := range elements {
		count[e.name]++
		switch e.name {
		case "html":
			if e.attributes["lang"] == "" {
				t.Error("no language")
			}
		case "title", "h1":
			if strings.TrimSpace(e.text) == "" {
				t.Errorf("%s is empty", e.name)
			}
		case "label":
			labels[e.attributes["for"]] = strings.TrimSpace(e.text) != ""
		case "input":
			if id := e.attributes["id"]; id == "" || !labels[id] {
				t.Errorf("input %q has no label before it", id)
			}
		case "script", "iframe", "img", "object":
			t.Errorf("the page has a %s", e.name)
		}
		for name := range e.attributes {
			if strings.HasPrefix(name, "on") || name == "style" {
				t.Errorf("%s has %s", e.name, name)
			}
		}
	}
	if count["title"] != 1 || count["h1"] != 1 || count["main"] != 1 {
		t.Errorf("%d title, %d h1, %d main", count["title"], count["h1"], count["main"])
	}
	return string(body), elements
}

func get(path string) *http.Request {
	return httptest.NewRequest(http.MethodGet, "https://obo.example"+path, nil)
}

func post(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://obo.example"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

const script = `"><script>alert(1)</script><img src=x onerror=alert(1)>`

// TestPages: each page can be read without a script and by a screen reader, and shows what others say as text (XSS).
func TestPages(t *testing.T) {
	t.Parallel()
	base := connection.Page{
		Org: "acme", Theme: store.Theme{Name: script, Accent: "#1d4ed8"}, ID: "id1", Provider: script, Agent: script, Account: script,
		Subject: script, Reason: script, Allows: []string{script},
		Settings: []connection.Setting{{Name: "host", Description: script, Default: script}},
	}
	for _, step := range []connection.Step{connection.StepSignIn, connection.StepGrant, connection.StepKey, connection.StepDone} {
		for _, status := range []string{
			connection.StatusPending, connection.StatusActive, connection.StatusDenied, connection.StatusFailed, connection.StatusExpired,
		} {
			p := base
			p.Step, p.Status, p.Basic = step, status, true
			r := serve(t, &scripted{page: p}, true, get("/connect/acme.id1"))
			text, elements := page(t, r)
			if r.StatusCode != http.StatusOK || strings.Contains(text, "<script") || strings.Contains(text, "<img") {
				t.Errorf("%s %s: %d %s", step, status, r.StatusCode, text)
			}
			fields := 0
			for _, e := range elements {
				if e.name == "input" {
					fields++
				}
			}
			if want := map[bool]int{true: 3}[step == connection.StepKey]; fields != want {
				t.Errorf("%s: %d fields, want %d", step, fields, want)
			}
		}
	}
}

// TestFailures: each refusal has its status, and a page that says what to do and nothing of whose link it is.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
	}{
		{connection.ErrNotYours, http.StatusForbidden}, {connection.ErrNobody, http.StatusForbidden}, {connection.ErrStep, http.StatusConflict},
		{connection.ErrLink, http.StatusNotFound}, {store.ErrNotFound, http.StatusNotFound},
		{connection.ErrNoClient, http.StatusServiceUnavailable}, {errors.New("canary-cause"), http.StatusServiceUnavailable},
	} {
		for _, request := range []*http.Request{
			get("/connect/acme.id1"), get("/connect/acme.id1/sign-in"), get("/connect/acme.id1/grant"),
			get("/connect/callback?state=acme.id1.x&code=c"), post("/connect/acme.id1/key", url.Values{"secret": {"canary-secret"}}),
		} {
			r := serve(t, &scripted{err: fmt.Errorf("%w: canary-detail", c.err)}, true, request)
			text, _ := page(t, r)
			if r.StatusCode != c.status || strings.Contains(text, "canary") || len(r.Cookies()) != 0 {
				t.Errorf("%s: %v: %d %s", request.URL, c.err, r.StatusCode, text)
			}
		}
	}
	for _, path := range []string{"/", "/connect", "/connect/", "/connect/acme", "/connect/ACME.id1", "/connect/acme." + strings.Repeat("x", 65)} {
		if r := serve(t, &scripted{}, true, get(path)); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}

// TestCookie: RFC 6265bis. The cookie is this host's alone, no script reads it, and it comes along with a redirect from elsewhere.
func TestCookie(t *testing.T) {
	t.Parallel()
	for secure, name := range map[bool]string{true: "__Host-obo-connect-id1", false: "obo-connect-id1"} {
		s := &scripted{}
		r := serve(t, s, secure, get("/connect/acme.id1/sign-in"))
		cookies := r.Cookies()
		if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "https://issuer.example/") || len(cookies) != 1 {
			t.Fatalf("%d %v", r.StatusCode, r.Header)
		}
		c := cookies[0]
		if c.Name != name || c.Value != "cookie-value" || c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" ||
			c.Domain != "" || c.MaxAge != int(connection.AuthorizationLife.Seconds()) {
			t.Errorf("%+v", c)
		}
		back := get("/connect/callback?state=acme.id1.x&code=c&iss=https://issuer.example")
		back.AddCookie(&http.Cookie{Name: name, Value: "cookie-value"})
		back.AddCookie(&http.Cookie{Name: name[:len(name)-1] + "2", Value: "another link's"})
		r = serve(t, s, secure, back)
		want := connection.Answer{State: "acme.id1.x", Code: "c", Issuer: "https://issuer.example"}
		if s.answer != want || s.browser != "cookie-value" || r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/connect/acme.id1" {
			t.Errorf("%+v from %q: %d to %s", s.answer, s.browser, r.StatusCode, r.Header.Get("Location"))
		}
	}
	s := &scripted{} // by https, a cookie that another host of the domain may have set is none
	r := get("/connect/acme.id1/grant")
	r.AddCookie(&http.Cookie{Name: "obo-connect-id1", Value: "planted"})
	if serve(t, s, true, r); s.browser != "" {
		t.Error("a planted cookie counts")
	}
}

// TestParameters: RFC 6749 section 3.1: no parameter twice; and no form that is not ours.
func TestParameters(t *testing.T) {
	t.Parallel()
	keys := connection.Page{Org: "acme", ID: "id1", Step: connection.StepKey, Provider: "Keys", Settings: []connection.Setting{{Name: "host"}}}
	foreign := post("/connect/acme.id1/key", url.Values{"secret": {"canary-secret"}})
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	old := post("/connect/acme.id1/key", url.Values{"secret": {"canary-secret"}})
	old.Header.Del("Sec-Fetch-Site")
	old.Header.Set("Origin", "https://evil.example")
	for name, c := range map[string]struct {
		r      *http.Request
		status int
	}{
		"state twice":                     {get("/connect/callback?state=acme.id1.x&state=acme.id1.y&code=c"), http.StatusNotFound},
		"code twice":                      {get("/connect/callback?state=acme.id1.x&code=c&code=d"), http.StatusNotFound},
		"iss twice":                       {get("/connect/callback?state=acme.id1.x&code=c&iss=a&iss=b"), http.StatusNotFound},
		"error twice":                     {get("/connect/callback?state=acme.id1.x&error=c&error=d"), http.StatusNotFound},
		"no state":                        {get("/connect/callback?code=c"), http.StatusNotFound},
		"state that is too long":          {get("/connect/callback?code=c&state=acme.id1." + strings.Repeat("x", 300)), http.StatusNotFound},
		"secret twice":                    {post("/connect/acme.id1/key", url.Values{"secret": {"a", "b"}}), http.StatusBadRequest},
		"form too large":                  {post("/connect/acme.id1/key", url.Values{"secret": {strings.Repeat("x", 40<<10)}}), http.StatusBadRequest},
		"another site's form":             {foreign, http.StatusForbidden},
		"another site's form, by Origin":  {old, http.StatusForbidden},
		"a key in the URL is no form":     {get("/connect/acme.id1/key?secret=canary-secret"), http.StatusNotFound},
		"a link that is not to be posted": {post("/connect/acme.id1/grant", nil), http.StatusNotFound},
	} {
		s := &scripted{page: keys}
		r := serve(t, s, true, c.r)
		text, _ := page(t, r)
		if r.StatusCode != c.status || s.calls != 0 || strings.Contains(text, "canary") {
			t.Errorf("%s: %d, %d calls", name, r.StatusCode, s.calls)
		}
	}
	s := &scripted{page: keys}
	form := url.Values{"secret": {" canary-secret \r\n"}, "username": {"alice"}, "setting-host": {" a.example "}, "setting-other": {"x"}}
	r := serve(t, s, true, post("/connect/acme.id1/key", form))
	if r.StatusCode != http.StatusSeeOther || string(s.key.Secret) != "canary-secret" || len(s.key.Settings) != 1 || s.key.Settings["host"] != "a.example" {
		t.Errorf("%d %v", r.StatusCode, s.key.Settings)
	}
	s.err = fmt.Errorf("%w: Keys does not accept it", connection.ErrInvalid)
	r = serve(t, s, true, post("/connect/acme.id1/key", form))
	text, _ := page(t, r)
	if r.StatusCode != http.StatusUnprocessableEntity || strings.Contains(text, "canary") || !strings.Contains(text, "does not accept it") ||
		!strings.Contains(text, "a.example") {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}
