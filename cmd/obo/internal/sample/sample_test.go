package sample

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/onbehalf/obo/telemetry"
)

const mintToken = telemetry.Secret("mint-canary")

func issuer(t *testing.T) (*httptest.Server, func(body, bearer string) (*http.Response, map[string]string)) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	url := "http://" + server.Listener.Addr().String()
	i, err := NewIssuer(IssuerConfig{URL: url, MintToken: mintToken, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = i.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return server, func(body, bearer string) (*http.Response, map[string]string) {
		req, _ := http.NewRequest(http.MethodPost, url+"/mint", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]string
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp, out
	}
}

// A JOSE library that nobody here wrote finds the keys by discovery and takes the ID token.
func TestIDTokensVerifyWithAnotherLibrary(t *testing.T) {
	t.Parallel()
	server, mint := issuer(t)
	_, out := mint(`{"user":"alice","org":"acme"}`, mintToken.Reveal())
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	fetch(t, server.URL+"/.well-known/openid-configuration", &discovery)
	var keys jose.JSONWebKeySet
	fetch(t, discovery.JWKSURI, &keys)
	token, err := jwt.ParseSigned(out["id_token"], []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var standard jwt.Claims
	var own struct {
		Tenant string `json:"tenant"`
		Sid    string `json:"sid"`
	}
	if err := token.Claims(keys, &standard, &own); err != nil {
		t.Fatal(err)
	}
	if err := standard.Validate(jwt.Expected{Issuer: discovery.Issuer, AnyAudience: jwt.Audience{Audience}}); err != nil {
		t.Fatal(err)
	}
	if standard.Subject != "alice" || own.Tenant != "acme" || own.Sid == "" {
		t.Errorf("sub %q, tenant %q, sid %q", standard.Subject, own.Tenant, own.Sid)
	}
}

func fetch(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}

func TestMintSignsInOnlyForItsOwner(t *testing.T) {
	t.Parallel()
	_, mint := issuer(t)
	for name, c := range map[string]struct {
		body, bearer string
		want         int
	}{
		"no token":     {`{"user":"alice","org":"acme"}`, "", 401},
		"wrong token":  {`{"user":"alice","org":"acme"}`, "x", 401},
		"unknown user": {`{"user":"mallory","org":"acme"}`, mintToken.Reveal(), 404},
		"other org":    {`{"user":"bob","org":"globex"}`, mintToken.Reveal(), 404},
		"not JSON":     {`user=alice`, mintToken.Reveal(), 400},
	} {
		t.Run(name, func(t *testing.T) {
			resp, out := mint(c.body, c.bearer)
			if resp.StatusCode != c.want || out["id_token"] != "" {
				t.Errorf("status %d, want %d", resp.StatusCode, c.want)
			}
		})
	}
}

func tracker(t *testing.T, now func() time.Time) (*Tracker, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	tracker := NewTracker("http://"+server.Listener.Addr().String(), []Account{{User: "alice of acme", Key: "key-canary"}}, now)
	server.Config.Handler = tracker.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return tracker, server
}

func TestTrackerServesByKeyAndRemembersWithoutSecrets(t *testing.T) {
	t.Parallel()
	tracker, server := tracker(t, time.Now)
	do := func(method, path, key, body string) (int, string) {
		req, _ := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		req.Header.Set(KeyHeader, key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out json.RawMessage
		_ = json.NewDecoder(resp.Body).Decode(&out)
		return resp.StatusCode, string(out)
	}
	for _, c := range []struct {
		method, path, key, body string
		want                    int
		has                     string
	}{
		{"GET", "/v1/projects/apollo/issues", "key-canary", "", 200, "1202"},
		{"GET", "/v1/projects/apollo/issues", "other", "", 401, "bad_key"},
		{"POST", "/v1/projects/apollo/issues", "key-canary", `{"title":"x"}`, 201, `"author":"alice of acme"`},
		{"POST", "/v1/projects/apollo/issues", "key-canary", `{}`, 422, "bad_issue"},
		{"GET", "/v1/projects/apollo/issues/5", "key-canary", "", 200, `"title":"x"`},
		{"GET", "/v1/projects/payroll/issues/5", "key-canary", "", 404, "not_found"},
		{"POST", "/v1/projects/apollo/issues/5/close", "key-canary", "", 200, `"closed"`},
	} {
		if status, body := do(c.method, c.path, c.key, c.body); status != c.want || !strings.Contains(body, c.has) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, status, body, c.want, c.has)
		}
	}
	seen, _ := json.Marshal(tracker.Seen())
	if len(tracker.Seen()) != 7 || strings.Contains(string(seen), "canary") {
		t.Errorf("seen: %s", seen)
	}
	if tracker.Seen()[1].Account != "" || tracker.Seen()[0].Account != "alice of acme" {
		t.Errorf("accounts: %s", seen)
	}
}
