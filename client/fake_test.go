package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/onbehalf/obo/client"
)

const issuer = "https://sts.example"

var server = client.Metadata{Issuer: issuer, TokenEndpoint: issuer + "/token", IntrospectionEndpoint: issuer + "/introspect",
	RevocationEndpoint: issuer + "/revoke"}

// sts is a token server without a network, so that time can be the test's own. Each answer is of `answer`.
type sts struct {
	mu     sync.Mutex
	seen   []seen
	answer func(n int, s seen) reply // n counts from 1
}

// seen is one request as it arrived.
type seen struct {
	url    string
	form   url.Values
	header http.Header
}

type reply struct {
	status int
	header http.Header
	body   string
}

// issue is the answer to everything: tokens that are no JWTs, and good for life seconds.
func issue(life int) func(int, seen) reply {
	return func(n int, s seen) reply {
		kind := "Bearer"
		if s.header.Get("Dpop") != "" {
			kind = "DPoP"
		}
		return reply{status: http.StatusOK, body: fmt.Sprintf(`{"access_token":"opaque %d","issued_token_type":%q,"token_type":%q,
			"expires_in":%d,"scope":"a b","action_id":"txn.1","unknown":[1]}`, n, client.TypeAccessToken, kind, life)}
	}
}

func refuse(status int, code string) reply {
	body, _ := json.Marshal(map[string]string{"error": code, "error_description": "no", "action_id": "txn.9"})
	return reply{status: status, body: string(body)}
}

// RoundTrip serves a request.
func (s *sts) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	now := seen{url: r.URL.String(), form: r.PostForm, header: r.Header.Clone()}
	s.mu.Lock()
	s.seen = append(s.seen, now)
	n := len(s.seen)
	s.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a := s.answer(n, now)
	w := httptest.NewRecorder()
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.WriteString(a.body)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (s *sts) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// newClient is a client of s; edit may change its configuration.
func newClient(t *testing.T, s *sts, edit func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{Server: server, ClientID: "acme.orchestrator", Auth: client.Secret("s+cret"),
		HTTP: &http.Client{Transport: s}}
	if edit != nil {
		edit(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// prover writes what a proof would be about into it.
type prover struct{}

func (prover) Thumbprint() string { return "thumbprint" }

func (prover) Proof(method, uri, nonce, token string) (string, error) {
	return strings.Join([]string{method, uri, nonce, token}, "|"), nil
}

var request = client.Request{Subject: client.Static("id-token"), SubjectType: client.TypeIDToken,
	Resource: []string{"https://executor.example"}, Scope: "a b"}
