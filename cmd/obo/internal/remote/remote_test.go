package remote

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

func TestReadSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"ok": " s3cret\n", "empty": "\n", "long": strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := ReadSecret(filepath.Join(dir, "ok"), nil); err != nil || s.Reveal() != "s3cret" {
		t.Errorf("%v", err)
	}
	if s, err := ReadSecret("-", strings.NewReader("piped\n")); err != nil || s.Reveal() != "piped" {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"empty", "long", "missing"} {
		if _, err := ReadSecret(filepath.Join(dir, name), nil); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// TX20: a token never crosses a network in the clear.
func TestOnlyLoopbackIsSpokenToInTheClear(t *testing.T) {
	t.Parallel()
	for address, security := range map[string]string{
		"127.0.0.1:1": "insecure", "localhost:1": "insecure", "[::1]:1": "insecure",
		"10.0.0.1:1": "tls", "sts.example:443": "tls", "127.0.0.1.example:1": "tls",
	} {
		creds, err := transport(address, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := creds.Info().SecurityProtocol; got != security {
			t.Errorf("%s: %s, want %s", address, got, security)
		}
	}
	if _, err := transport("no-port", ""); err == nil {
		t.Error("an address without a port was taken")
	}
	if _, err := transport("127.0.0.1:1", "/nonexistent"); err == nil {
		t.Error("certificates that are not there were taken")
	}
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	issuer := server.URL
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + issuer + `","token_endpoint":"` + issuer + `/token"}`))
	})
	mux.HandleFunc("GET /.well-known/oauth-authorization-server/evil", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + issuer + `","token_endpoint":"` + issuer + `/token"}`))
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		switch {
		case id != "acme.a" || secret != "s%2Bs": // CA1: form-encoded before base64
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"no"}`))
		case r.PostFormValue("grant_type") != GrantType:
			w.WriteHeader(http.StatusBadGateway)
		case r.PostFormValue("scope") == "wide":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_scope","error_description":"wider"}`))
		default:
			_, _ = w.Write([]byte(`{"access_token":"t","scope":"` + r.PostFormValue("scope") + `","expires_in":300}`))
		}
	})
	client := NewHTTP(1)
	m, err := client.Metadata(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	// RFC 8414 section 3.3: the metadata must be of the issuer that was asked.
	if _, err := client.Metadata(t.Context(), issuer+"/evil"); err == nil {
		t.Error("another issuer's metadata was taken")
	}
	req := &obov1.ExchangeRequest{SubjectToken: "x", Scope: "a b", Resource: []string{"https://r"}}
	resp, err := client.Exchange(t.Context(), m.TokenEndpoint, "acme.a", "s+s", Form(req))
	if err != nil || resp.GetAccessToken() != "t" || resp.GetScope() != "a b" || resp.GetExpiresIn() != 300 {
		t.Fatalf("%v %v", resp, err)
	}
	req.Scope = "wide"
	_, err = client.Exchange(t.Context(), m.TokenEndpoint, "acme.a", "s+s", Form(req))
	var refusal *OAuthError
	if !errors.As(err, &refusal) || refusal.Code != "invalid_scope" {
		t.Errorf("got %v", err)
	}
	if p := explain.Of("refused", err); p.Code != explain.Refused || p.Do == "" {
		t.Errorf("got %+v", p)
	}
	_, err = client.Exchange(t.Context(), m.TokenEndpoint, "acme.a", "other", Form(req))
	if p := explain.Of("refused", err); p.OAuth != "invalid_client" || strings.Contains(err.Error(), "other") {
		t.Errorf("got %+v", p)
	}
}
