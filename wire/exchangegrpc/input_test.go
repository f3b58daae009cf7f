package exchangegrpc_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// forged is a token with any payload under a header of ours; nobody signed it.
func forged(payload string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"ES256","kid":"x","typ":"at+jwt"}`)) + "." + enc([]byte(payload)) + "." + enc(make([]byte, 64))
}

func nested(depth int) string {
	return `{"sub":"user:acme/okta|alice","act":` + strings.Repeat(`{"sub":"a","act":`, depth) + `{}` + strings.Repeat("}", depth+1)
}

// TestBadInput: whatever a stranger sends is refused with its own code at both doors, at bounded cost.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	good := w.Orchestrator.Credential()
	login := func(change func(*exchange.Request)) exchange.Request {
		r := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		change(&r)
		return r
	}
	ours := func(token string) exchange.Request { return exchangetest.Next(token, "github:read") }
	cases := []struct {
		name string
		cred exchange.Credential
		req  exchange.Request
		want exchange.Reason
	}{
		{"act nested 100 deep", good, ours(forged(nested(100))), exchange.SubjectTokenInvalid},
		{"act nested 500 deep, 16 KiB", good, ours(forged(nested(500))), exchange.SubjectTokenInvalid},
		{"arrays nested 8,000 deep", good, ours(forged(`{"x":` + strings.Repeat("[", 8000))), exchange.SubjectTokenInvalid},
		{"a token of 20 KiB", good, ours(strings.Repeat("a", 20<<10)), exchange.InvalidRequest},
		{"a token of dots", good, ours(strings.Repeat(".", 16<<10)), exchange.SubjectTokenInvalid},
		{"control characters in a token", good, ours("a\x00.b\r\n.c"), exchange.SubjectTokenInvalid},
		{"control characters in scope", good, login(func(r *exchange.Request) { r.Scope = "a\x00b\r\nSet-Cookie: x" }), exchange.InvalidScope},
		{"quotes in scope", good, login(func(r *exchange.Request) { r.Scope = "a\"b\\" }), exchange.InvalidScope},
		{"10,000 scopes", good, login(func(r *exchange.Request) { r.Scope = strings.Repeat("s ", 10000) }), exchange.InvalidScope},
		{"TX8 a fragment in resource", good, login(func(r *exchange.Request) { r.Resource = []string{"https://a/#x"} }), exchange.InvalidTarget},
		{"TX8 a relative resource", good, login(func(r *exchange.Request) { r.Resource = []string{"a\x07b"} }), exchange.InvalidTarget},
		{"60 resources", good, login(func(r *exchange.Request) {
			r.Resource = strings.Split(strings.Repeat("https://a/ ", 59)+"https://a/", " ")
		}), exchange.InvalidTarget},
		{"a negative life", good, login(func(r *exchange.Request) { r.RequestedExpiresIn = -1 }), exchange.InvalidRequest},
		{"control characters in client_id", exchange.Credential{ClientID: "acme.\x00\r\n", Secret: "x"}, login(func(*exchange.Request) {}), exchange.InvalidClient},
		{"a client_id of 8 KiB", exchange.Credential{ClientID: strings.Repeat("a", 8<<10), Secret: "x"}, login(func(*exchange.Request) {}), exchange.InvalidClient},
		{"an assertion that is none", exchange.Credential{Assertion: "x.y"}, login(func(*exchange.Request) {}), exchange.InvalidClient},
		{"TX16 no credential", exchange.Credential{}, login(func(*exchange.Request) {}), exchange.InvalidClient},
	}
	doors := both(t, w.Service)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, d := range doors {
				start := time.Now()
				got := d.exchange(t, c.cred, c.req)
				if got.oauth != c.want.OAuth() || name == "grpc" && got.reason != string(c.want) {
					t.Errorf("%s: %s %s, want %s", name, got.oauth, got.reason, c.want)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("%s: took %s", name, took)
				}
			}
		})
	}
}

// TestBigMessages: GR5, the exchange door has a bound of its own below the server's, and the server's is grpc-go's to keep (GR5).
func TestBigMessages(t *testing.T) {
	t.Parallel()
	x := &counter{}
	client := obov1.NewExchangeServiceClient(dial(t, x, nil))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", basicOf("a", "b"))
	_, err := client.Exchange(ctx, &obov1.ExchangeRequest{SubjectToken: strings.Repeat("a", 1<<20)})
	if a := answerOf(err); a.code != codes.InvalidArgument || a.field != "message" {
		t.Errorf("1 MiB: %s %q", a.code, a.field)
	}
	_, err = client.Exchange(ctx, &obov1.ExchangeRequest{SubjectToken: strings.Repeat("a", 10<<20)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("10 MiB: %v", err)
	}
	if x.calls != 0 {
		t.Error("the exchange was asked")
	}
}

// counter is an exchange that remembers its caller.
type counter struct {
	calls int
	cred  exchange.Credential
	req   exchange.Request
}

func (c *counter) Exchange(_ context.Context, cred exchange.Credential, req exchange.Request) (exchange.Response, error) {
	c.calls, c.cred, c.req = c.calls+1, cred, req
	return exchange.Response{}, nil
}

func (c *counter) Introspect(_ context.Context, cred exchange.Credential, _ string, _ bool) (exchange.Introspection, error) {
	c.calls, c.cred = c.calls+1, cred
	return exchange.Introspection{}, nil
}

func (c *counter) RevokeToken(_ context.Context, cred exchange.Credential, _, _ string) error {
	c.calls, c.cred = c.calls+1, cred
	return nil
}

// TestCredential: what the authorization metadata may look like; the door finds a credential and judges none.
func TestCredential(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		values []string
		ok     bool
		id     string
		secret string
		jwt    string
	}{
		{"TX16 missing", nil, false, "", "", ""},
		{"two values", []string{basicOf("a", "b"), basicOf("a", "b")}, false, "", "", ""},
		{"Basic", []string{basicOf("acme.a", "b")}, true, "acme.a", "b", ""},
		{"CA1 form-encoded", []string{"basic " + base64.StdEncoding.EncodeToString([]byte("a%3Ac:b+%25"))}, true, "a:c", "b %", ""},
		{"CA1 a bad escape", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("a%zz:b"))}, false, "", "", ""},
		{"no colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("ab"))}, false, "", "", ""},
		{"an empty secret", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("a:"))}, false, "", "", ""},
		{"no base64", []string{"Basic !"}, false, "", "", ""},
		{"CA3 assertion", []string{"Bearer a.b.c"}, true, "", "", "a.b.c"},
		{"an empty assertion", []string{"Bearer "}, false, "", "", ""},
		{"another scheme", []string{"Digest x"}, false, "", "", ""},
		{"nothing", []string{""}, false, "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &counter{}
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": c.values})
			_, err := obov1.NewExchangeServiceClient(dial(t, x, nil)).Exchange(ctx, &obov1.ExchangeRequest{Resource: []string{"", "r", ""}})
			if !c.ok {
				if a := answerOf(err); a.code != codes.Unauthenticated || a.reason != "INVALID_CLIENT" || x.calls != 0 {
					t.Errorf("got %s %s after %d calls", a.code, a.reason, x.calls)
				}
				return
			}
			if err != nil || x.cred.ClientID != c.id || x.cred.Secret.Reveal() != c.secret || x.cred.Assertion != c.jwt {
				t.Errorf("got %v, %v", x.cred, err)
			}
			if len(x.req.Resource) != 1 || x.req.Resource[0] != "r" {
				t.Errorf("TE3: resource %q", x.req.Resource)
			}
		})
	}
}

// TestRFC8693AppendixA2: the request of the RFC's delegation example, parameter by parameter, and what A.2.5 says of the
// answer: sub is the subject_token's, act the actor_token's.
func TestRFC8693AppendixA2(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	d := httpDoor{handlerOf(t, w.Service)}
	first := d.exchange(t, w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	if first.oauth != "" {
		t.Fatalf("first hop: %s", first.oauth)
	}
	body := strings.Join([]string{
		"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange",
		"audience=executor",
		"scope=github%3Aread",
		"subject_token=" + first.response.AccessToken,
		"subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token",
		"actor_token=" + w.Researcher.Assertion(t, w, w.Researcher, nil),
		"actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt",
	}, "&")
	status, r := sendBody(t, d.handler, body, w.Orchestrator)
	if status != 200 || r.IssuedTokenType != exchange.TypeAccessToken || r.TokenType != "Bearer" || r.Scope != "github:read" {
		t.Fatalf("got %d %+v", status, r)
	}
	claims := w.Claims(t, r.AccessToken)
	if claims.Subject != "user:acme/okta|alice" || claims.Actor.Subject != w.Researcher.ID || claims.Actor.Act.Subject != w.Orchestrator.ID {
		t.Errorf("sub %s, act %v", claims.Subject, claims.Chain())
	}
	// A replay of the very same request: the actor's assertion is used up, and the answer is the grant's own code (TX7).
	if status, again := sendBody(t, d.handler, body, w.Orchestrator); status != 400 || again.Error != "invalid_request" {
		t.Errorf("replay: %d %s", status, again.Error)
	}
}

// tokenAnswer is the body of an answer of the token endpoint.
type tokenAnswer struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	Scope           string `json:"scope"`
	Error           string `json:"error"`
}

// sendBody posts a form as it stands.
func sendBody(t *testing.T, h http.Handler, body string, as exchangetest.Agent) (int, tokenAnswer) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", basicOf(as.ClientID, as.Secret))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var out tokenAnswer
	read(t, rec, &out)
	return rec.Code, out
}

// TestRemoteIP: CA8, policy sees the peer of the connection, and no header can say otherwise (CA8).
func TestRemoteIP(t *testing.T) {
	t.Parallel()
	x := &counter{}
	httpDoor{handlerOf(t, x)}.exchange(t, exchange.Credential{ClientID: "a", Secret: "b"}, exchange.Request{SubjectToken: "x"})
	if want := netip.MustParseAddr("192.0.2.1"); x.cred.RemoteIP != want { // httptest's
		t.Errorf("got %s, want %s", x.cred.RemoteIP, want)
	}
}
