// Package interop_test runs Go clients that nobody here wrote, unmodified, against the obo dev that interop/run started.
package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	cloud "cloud.google.com/go/auth/credentials/externalaccount"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google/externalaccount"
)

const (
	idToken = "urn:ietf:params:oauth:token-type:id_token"
	scope   = "tracker:issues:read"
)

// env is a setting that interop/run gives.
func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: interop/run sets it", name)
	}
	return value
}

// check is a subtest that prints a line.
func check(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	mark := "FAIL "
	if t.Run(name, f) {
		mark = "ok   "
	}
	fmt.Println(mark, name)
}

// TestGoClients: TE3, TE4, TE14, CA1, MD1.
func TestGoClients(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server := metadata(ctx, t)
	var tokens []string
	check(t, "golang.org/x/oauth2 externalaccount: a scope that is empty, Basic that is not encoded", func(t *testing.T) {
		tokens = append(tokens, viaOAuth2(ctx, t, server.TokenEndpoint, nil))
	})
	check(t, "golang.org/x/oauth2 externalaccount: one scope", func(t *testing.T) {
		tokens = append(tokens, viaOAuth2(ctx, t, server.TokenEndpoint, []string{scope}))
	})
	check(t, "golang.org/x/oauth2 externalaccount: a wrong secret is an error", func(t *testing.T) {
		source := oauth2Source(ctx, t, server.TokenEndpoint, "wrong", nil)
		if token, err := source.Token(); err == nil {
			t.Errorf("got a token: %v", token.TokenType)
		}
	})
	check(t, "cloud.google.com/go/auth externalaccount", func(t *testing.T) {
		tokens = append(tokens, viaCloud(ctx, t, server.TokenEndpoint))
	})
	check(t, "Google's parameter options is read over", func(t *testing.T) {
		tokens = append(tokens, withOptions(ctx, t, server.TokenEndpoint))
	})
	check(t, "go-oidc: verifies each of them with our key set", func(t *testing.T) {
		if len(tokens) != 4 {
			t.Fatalf("%d tokens were issued", len(tokens))
		}
		for _, token := range tokens {
			verify(ctx, t, server.JWKSURI, token)
		}
	})
	check(t, "go-oidc: refuses one that was changed", func(t *testing.T) {
		head, signature, _ := cutLast(tokens[0])
		keys := oidc.NewRemoteKeySet(ctx, server.JWKSURI)
		if _, err := keys.VerifySignature(ctx, head+"."+strings.ToUpper(signature)); err == nil {
			t.Error("a changed signature was taken")
		}
	})
}

func cutLast(token string) (head, tail string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	return token[:max(i, 0)], token[i+1:], i > 0
}

type document struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
	JWKSURI       string `json:"jwks_uri"`
}

// metadata reads RFC 8414's document; none of these clients does.
func metadata(ctx context.Context, t *testing.T) document {
	t.Helper()
	issuer := env(t, "OBO_ISSUER")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d document
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || d.Issuer != issuer {
		t.Fatalf("the metadata is of %q: %v", d.Issuer, err)
	}
	return d
}

// supplier gives alice's ID token, to either of Google's libraries.
type supplier string

// SubjectToken is for golang.org/x/oauth2.
func (s supplier) SubjectToken(context.Context, externalaccount.SupplierOptions) (string, error) {
	return string(s), nil
}

// provider is the same for cloud.google.com/go/auth.
type provider string

// SubjectToken is the ID token.
func (p provider) SubjectToken(context.Context, *cloud.RequestOptions) (string, error) {
	return string(p), nil
}

func oauth2Source(ctx context.Context, t *testing.T, endpoint, secret string, scopes []string) oauth2.TokenSource {
	t.Helper()
	source, err := externalaccount.NewTokenSource(ctx, externalaccount.Config{Audience: "executor", SubjectTokenType: idToken,
		TokenURL: endpoint, ClientID: "interop.orchestrator", ClientSecret: secret, Scopes: scopes,
		SubjectTokenSupplier: supplier(env(t, "ID_TOKEN"))})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func viaOAuth2(ctx context.Context, t *testing.T, endpoint string, scopes []string) string {
	t.Helper()
	token, err := oauth2Source(ctx, t, endpoint, env(t, "ORCHESTRATOR_SECRET"), scopes).Token()
	if err != nil {
		t.Fatal(err)
	}
	if !token.Valid() || token.Type() != "Bearer" {
		t.Errorf("type %q, valid %v", token.Type(), token.Valid())
	}
	return token.AccessToken
}

func viaCloud(ctx context.Context, t *testing.T, endpoint string) string {
	t.Helper()
	credentials, err := cloud.NewCredentials(&cloud.Options{Audience: "executor", SubjectTokenType: idToken, TokenURL: endpoint,
		ClientID: "interop.orchestrator", ClientSecret: env(t, "ORCHESTRATOR_SECRET"), Scopes: []string{scope},
		SubjectTokenProvider: provider(env(t, "ID_TOKEN")), Client: &http.Client{Timeout: 30 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	var token *auth.Token
	if token, err = credentials.Token(ctx); err != nil {
		t.Fatal(err)
	}
	if token.Value == "" || time.Until(token.Expiry) <= 0 {
		t.Errorf("expires %v", token.Expiry)
	}
	return token.Value
}

// withOptions sends what Google's libraries send without a client secret, beside one.
func withOptions(ctx context.Context, t *testing.T, endpoint string) string {
	t.Helper()
	status, body := post(ctx, t, endpoint, env(t, "ORCHESTRATOR_SECRET"), url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "audience": {"executor"}, "scope": {""}, "code": {""},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "subject_token": {env(t, "ID_TOKEN")},
		"subject_token_type": {idToken}, "options": {`{"userProject":"x"}`},
	})
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK || answer.ExpiresIn <= 0 {
		t.Fatalf("HTTP %d, expires_in %d, %v", status, answer.ExpiresIn, err)
	}
	return answer.AccessToken
}

func post(ctx context.Context, t *testing.T, endpoint, secret string, form url.Values) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("interop.orchestrator", secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// verify is what a resource server that has go-oidc does.
func verify(ctx context.Context, t *testing.T, jwks, token string) {
	t.Helper()
	verifier := oidc.NewVerifier(env(t, "OBO_ISSUER"), oidc.NewRemoteKeySet(ctx, jwks),
		&oidc.Config{ClientID: env(t, "OBO_EXECUTOR_AUDIENCE"), SupportedSigningAlgs: []string{oidc.ES256}})
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if verified.Subject != "user:interop/idp|alice" {
		t.Errorf("subject %q", verified.Subject)
	}
}
