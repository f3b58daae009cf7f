package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/sample"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// door is a token server's sign-in, which takes everybody, and enough of its admin API to see who calls.
type door struct {
	obov1.UnimplementedSignInServiceServer
	obov1.UnimplementedAdminServiceServer
	mu      sync.Mutex
	seen    []*obov1.SignInRequest
	out     []string
	callers []string
	ends    time.Time
	closed  error // what SignOut answers
}

func (d *door) SignIn(_ context.Context, r *obov1.SignInRequest) (*obov1.SignInResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, r)
	return &obov1.SignInResponse{Token: "canary-of-" + r.GetOrgId(), Expires: timestamppb.New(d.ends), Subject: "user:acme/sample|alice",
		Role: "policy-author"}, nil
}

func (d *door) SignOut(_ context.Context, r *obov1.SignOutRequest) (*obov1.SignOutResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = append(d.out, r.GetToken())
	return &obov1.SignOutResponse{}, d.closed
}

func (d *door) GetOrg(ctx context.Context, _ *obov1.GetOrgRequest) (*obov1.GetOrgResponse, error) {
	_, err := d.ListOrgs(ctx, nil)
	return &obov1.GetOrgResponse{Version: 1, Document: []byte("{}")}, err
}

func (d *door) ListOrgs(ctx context.Context, _ *obov1.ListOrgsRequest) (*obov1.ListOrgsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	d.callers = append(d.callers, strings.Join(md.Get("authorization"), ","))
	return &obov1.ListOrgsResponse{}, nil
}

// logins is a token server, an OpenID provider, and a home without logins.
func logins(t *testing.T, change func(http.Handler) http.Handler) (*door, map[string]string) {
	t.Helper()
	d := &door{ends: time.Now().Add(10 * time.Minute)}
	at := d.serve(t)
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	i, err := sample.NewIssuer(sample.IssuerConfig{URL: issuer, MintToken: telemetry.Secret("mint"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = i.Handler()
	if change != nil {
		server.Config.Handler = change(i.Handler())
	}
	server.Start()
	t.Cleanup(server.Close)
	return d, map[string]string{
		"OBO_STS_GRPC": at, "HOME": t.TempDir(), "OBO_LOGIN_ISSUER": issuer, "OBO_LOGIN_CLIENT_ID": sample.AdminClient,
	}
}

func (d *door) serve(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	obov1.RegisterSignInServiceServer(s, d)
	obov1.RegisterAdminServiceServer(s, d)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// tab is a browser's: it sees the URL that obo login shows, and where the provider sends it.
type tab struct {
	t    *testing.T
	http http.Client
}

// answered is where the provider sends the browser once somebody was chosen.
func (b tab) answered(at, user string) *url.URL {
	b.t.Helper()
	resp, err := b.http.PostForm(at, url.Values{"user": {user}})
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		b.t.Fatal(resp.Status, err)
	}
	return to
}

// visit opens a page and returns what it says.
func (b tab) visit(at string) (int, string) {
	b.t.Helper()
	resp, err := b.http.Get(at)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// login runs obo login, and lets browse do what a person does with the URL that it shows.
func login(t *testing.T, env map[string]string, browse func(b tab, at string), args ...string) ran {
	t.Helper()
	r, w := io.Pipe()
	var out strings.Builder
	done := make(chan int, 1)
	go func() {
		args = append([]string{"login", "--no-browser"}, args...)
		code := run(t.Context(), args, strings.NewReader(""), &out, w, func(name string) (string, bool) {
			v, ok := env[name]
			return v, ok
		})
		_ = w.Close()
		done <- code
	}()
	b := tab{t, http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	var errOut strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		errOut.WriteString(lines.Text() + "\n")
		if at := strings.TrimSpace(lines.Text()); strings.HasPrefix(at, "http") && browse != nil {
			browse(b, at)
		}
	}
	return ran{<-done, out.String(), errOut.String()}
}

func asAlice(b tab, at string) { b.visit(b.answered(at, "alice of acme").String()) }

// changed is the answer for alice with something else in it.
func changed(change func(url.Values)) func(tab, string) {
	return func(b tab, at string) {
		to := b.answered(at, "alice of acme")
		q := to.Query()
		change(q)
		to.RawQuery = q.Encode()
		b.visit(to.String())
	}
}

// TestLogin: RFC 8252, RFC 7636, RFC 9207, OpenID Connect Core §3.1.2.1: what is asked of the provider, what the token server gets, what
// is kept, and that other commands use it. The token is nowhere but in the file.
func TestLogin(t *testing.T) {
	t.Parallel()
	d, env := logins(t, nil)
	got := login(t, env, func(b tab, at string) {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		to, err := url.Parse(q.Get("redirect_uri"))
		if err != nil || to.Hostname() != "127.0.0.1" || to.Path != "/callback" || q.Get("code_challenge_method") != "S256" ||
			q.Get("response_type") != "code" || q.Get("scope") != "openid groups" || len(q.Get("state")) < 22 ||
			len(q.Get("nonce")) < 22 || q.Has("client_secret") {
			t.Errorf("asks %s", at)
		}
		if status, text := b.visit(to.Scheme + "://" + to.Host + "/favicon.ico"); status != http.StatusNotFound || text != "" {
			t.Errorf("another path: %d %q", status, text)
		}
		answer := b.answered(at, "alice of acme")
		if status, text := b.visit(answer.String()); status != http.StatusOK || strings.Contains(text, "alice") ||
			strings.Contains(text, answer.Query().Get("code")) || !strings.Contains(text, "Close this window") {
			t.Errorf("the page: %d %s", status, text)
		}
	}, "acme", "--scope", "groups")
	if got.code != explain.OK || !strings.Contains(got.out, "user:acme/sample|alice") || !strings.Contains(got.out, "policy-author") {
		t.Fatalf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	if len(d.seen) != 1 || d.seen[0].GetOrgId() != "acme" {
		t.Fatalf("signed in with %v", d.seen)
	}
	m, err := jose.Parse(d.seen[0].GetToken())
	if err != nil || !strings.Contains(string(m.UnverifiedPayload()), `"aud":"obo-sample-admin"`) {
		t.Errorf("the token server got %s", m.UnverifiedPayload())
	}
	files := kept(t, env, 1)
	if strings.Contains(got.out+got.err, "canary") || strings.Contains(files, d.seen[0].GetToken()) || !strings.Contains(files, "canary-of-acme") {
		t.Error("the token was printed, or the login was kept")
	}
	// Another command uses it, and knows where to sign in the next time.
	if used := obo(t, with(env, "OBO_ORG", "acme"), "", "org", "show"); used.code != explain.OK || d.callers[0] != "Bearer canary-of-acme" {
		t.Errorf("%+v, called by %q", used, d.callers)
	}
	bare := with(with(env, "OBO_LOGIN_ISSUER", ""), "OBO_LOGIN_CLIENT_ID", "")
	if again := login(t, bare, asAlice, "acme"); again.code != explain.OK || len(d.seen) != 2 {
		t.Errorf("again: %+v", again)
	}
}

func with(env map[string]string, name, value string) map[string]string {
	out := maps.Clone(env)
	out[name] = value
	return out
}

// TestLoginRefused: whoever meddles with the browser, or with the provider's answer, gets nobody signed in.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	shared, place := logins(t, nil) // to make a provider's key takes a while
	const bad, wrong = explain.Refused, explain.Usage
	for name, c := range map[string]struct {
		browse func(tab, string)
		server func(http.Handler) http.Handler
		args   string
		want   string
		code   int
	}{
		"another state": {changed(func(q url.Values) { q.Set("state", "x") }), nil, "", "(state)", bad},
		"no state":      {changed(func(q url.Values) { q.Del("state") }), nil, "", "(state)", bad},
		"two states":    {changed(func(q url.Values) { q.Add("state", "x") }), nil, "", "two values of state", bad},
		"two codes":     {changed(func(q url.Values) { q.Add("code", "x") }), nil, "", "two values of code", bad},
		"mix-up":        {changed(func(q url.Values) { q.Set("iss", "https://evil.test") }), nil, "", "(iss)", bad},
		"no iss":        {changed(func(q url.Values) { q.Del("iss") }), nil, "", "(iss)", bad},
		"mix-up of an error": {changed(func(q url.Values) {
			q.Del("code")
			q.Set("error", "server_error")
			q.Set("iss", "https://evil.test")
		}), nil, "", "(iss)", bad},
		"no code":      {changed(func(q url.Values) { q.Del("code") }), nil, "", "without a code", bad},
		"another code": {changed(func(q url.Values) { q.Set("code", "x") }), nil, "", "invalid_grant", bad},
		"a code that was used": {func(b tab, at string) {
			to := b.answered(at, "alice of acme")
			q := to.Query()
			form := url.Values{"grant_type": {"authorization_code"}, "code": q["code"], "client_id": {sample.AdminClient}}
			resp, err := b.http.PostForm(strings.Split(at, "/authorize")[0]+"/token", form) // a thief without the verifier uses it up
			if err != nil || resp.StatusCode != http.StatusBadRequest {
				b.t.Error(resp, err)
				return
			}
			_ = resp.Body.Close()
			b.visit(to.String())
		}, nil, "", "invalid_grant", bad},
		"a code of another login": {func(b tab, at string) {
			u, _ := url.Parse(at)
			q := u.Query()
			q.Set("code_challenge", strings.Repeat("A", 43)) // the thief's own login: its code is not for our verifier
			u.RawQuery = q.Encode()
			b.visit(b.answered(u.String(), "bob of acme").String())
		}, nil, "", "invalid_grant", bad},
		"another nonce": {func(b tab, at string) {
			u, _ := url.Parse(at)
			q := u.Query()
			q.Set("nonce", "x")
			u.RawQuery = q.Encode()
			b.visit(b.answered(u.String(), "alice of acme").String())
		}, nil, "", "(nonce)", bad},
		"no nonce": {func(b tab, at string) {
			u, _ := url.Parse(at)
			q := u.Query()
			q.Del("nonce")
			u.RawQuery = q.Encode()
			b.visit(b.answered(u.String(), "alice of acme").String())
		}, nil, "", "(nonce)", bad},
		"nobody": {func(b tab, at string) { b.visit(b.answered(at, "").String()) }, nil, "", "said no", bad},
		"an error of its own": {changed(func(q url.Values) {
			q.Del("code")
			q.Set("error", "temporarily_unavailable\x1b[2J")
			q.Set("error_description", strings.Repeat("é", 5000))
		}), nil, "", "temporarily_unavailable", bad},
		"nobody comes": {func(tab, string) {}, nil, "--within 50ms", "within 50ms", explain.Failed},
		"a POST to the callback": {func(b tab, at string) {
			to := b.answered(at, "alice of acme")
			resp, err := b.http.PostForm(to.String(), nil)
			if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
				b.t.Error(resp, err)
			}
			_ = resp.Body.Close()
		}, nil, "--within 200ms", "within 200ms", explain.Failed},
		"a name that was rebound": {func(b tab, at string) {
			req, _ := http.NewRequest(http.MethodGet, b.answered(at, "alice of acme").String(), nil)
			req.Host = "evil.test"
			resp, err := b.http.Do(req)
			if err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
				b.t.Error(resp, err)
			}
			_ = resp.Body.Close()
		}, nil, "--within 200ms", "within 200ms", explain.Failed},
		"a provider without PKCE":                     {nil, describe("code_challenge_methods_supported", []string{"plain"}), "", "PKCE", bad},
		"another provider's metadata":                 {nil, describe("issuer", "https://evil.test"), "", "--oidc-issuer", explain.Unavailable},
		"a token endpoint in plain text":              {nil, describe("token_endpoint", "http://evil.test/token"), "", "token endpoint is not", wrong},
		"an authorization endpoint that is a program": {nil, describe("authorization_endpoint", "file:///bin/sh"), "", "authorization endpoint", wrong},
		"an issuer in plain text":                     {nil, nil, "--oidc-issuer http://login.test", "not an https URL", wrong},
		"an ID token of another key": {asAlice, tokens(func(t string) string {
			return t[:strings.LastIndexByte(t, '.')+1] + strings.Repeat("A", 342)
		}), "", "not a good one", bad},
		"no ID token":                {asAlice, tokens(func(string) string { return "" }), "", "without an ID token", bad},
		"both an org and the server": {nil, nil, "--operator", "--operator", wrong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, env := shared, with(place, "HOME", t.TempDir())
			if c.server != nil {
				d, env = logins(t, c.server)
			}
			got := login(t, env, c.browse, append([]string{"acme"}, strings.Fields(c.args)...)...)
			if got.code != c.code || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, "  do: ") ||
				strings.Contains(got.err, "\x1b") {
				t.Errorf("exit %d, want %d with %q\n%s", got.code, c.code, c.want, got.err)
			}
			if len(d.seen) != 0 {
				t.Error("the token server was asked")
			}
			if _, err := os.Stat(filepath.Join(env["HOME"], ".local")); err == nil {
				t.Error("something was kept")
			}
		})
	}
}

// describe is a provider whose metadata says something else.
func describe(name string, value any) func(http.Handler) http.Handler {
	return edit("/.well-known/openid-configuration", func(m map[string]any) { m[name] = value })
}

// tokens is a provider whose ID tokens are something else.
func tokens(change func(string) string) func(http.Handler) http.Handler {
	return edit("/token", func(m map[string]any) { m["id_token"] = change(m["id_token"].(string)) })
}

func edit(path string, change func(map[string]any)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			var m map[string]any
			_ = json.Unmarshal(rec.Body.Bytes(), &m)
			change(m)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(m)
		})
	}
}

// TestSecondCallback: the first answer counts, and no other is taken.
func TestSecondCallback(t *testing.T) {
	t.Parallel()
	d, env := logins(t, nil)
	hold := make(chan struct{})
	d2, env2 := logins(t, func(next http.Handler) http.Handler { // the provider answers when the second callback has been tried
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				<-hold
			}
			next.ServeHTTP(w, r)
		})
	})
	got := login(t, env2, func(b tab, at string) {
		to := b.answered(at, "alice of acme").String()
		b.visit(to)
		if status, text := b.visit(to); status != http.StatusGone || !strings.Contains(text, "already") {
			t.Errorf("a second answer: %d %s", status, text)
		}
		close(hold)
	}, "acme")
	if got.code != explain.OK || len(d2.seen) != 1 {
		t.Errorf("exit %d, %d sign-ins\n%s", got.code, len(d2.seen), got.err)
	}
	// A wrong answer uses the login up: the right one that follows changes nothing.
	got = login(t, env, func(b tab, at string) {
		to := b.answered(at, "alice of acme")
		q := to.Query()
		q.Set("state", "x")
		b.visit(to.Scheme + "://" + to.Host + to.Path + "?" + q.Encode())
		resp, err := b.http.Get(to.String()) // refused, or nobody listens any more
		if err == nil {
			_ = resp.Body.Close()
		}
	}, "acme")
	if got.code != explain.Refused || len(d.seen) != 0 {
		t.Errorf("exit %d, %d sign-ins\n%s", got.code, len(d.seen), got.err)
	}
}
