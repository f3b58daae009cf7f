package oauthhttp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/wire/oauthhttp"
)

// plainMetadata is the whole document of a server without DPoP and client certificates, with %[1]s for the issuer.
const plainMetadata = `{"issuer":"%[1]s","token_endpoint":"%[1]s/token","jwks_uri":"%[1]s/jwks","response_types_supported":[],` +
	`"grant_types_supported":["urn:ietf:params:oauth:grant-type:token-exchange","client_credentials",` +
	`"urn:ietf:params:oauth:grant-type:jwt-bearer"],` +
	`"authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"],` +
	`"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","spiffe_jwt"],` +
	`"token_endpoint_auth_signing_alg_values_supported":["ES256"],` +
	`"introspection_endpoint":"%[1]s/introspect",` +
	`"introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","spiffe_jwt"],` +
	`"introspection_endpoint_auth_signing_alg_values_supported":["ES256"],` +
	`"revocation_endpoint":"%[1]s/revoke",` +
	`"revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","spiffe_jwt"],` +
	`"revocation_endpoint_auth_signing_alg_values_supported":["ES256"],` +
	`"identity_chaining_requested_token_types_supported":["urn:ietf:params:oauth:token-type:id-jag"]}`

// TestPublicDocuments: MD1, MD2, MD3, MD4 and JG6; and the JWKS is where it says.
func TestPublicDocuments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ issuer, metadata, base string }{
		{"https://sts.example", "/.well-known/oauth-authorization-server", ""},
		{"https://sts.example/tenant/one", "/.well-known/oauth-authorization-server/tenant/one", "/tenant/one"},
	} {
		t.Run(c.issuer, func(t *testing.T) {
			t.Parallel()
			h := handler(t, &fake{}, func(cfg *oauthhttp.Config) { cfg.Issuer = c.issuer })
			got := do(h, httptest.NewRequest(http.MethodGet, c.metadata, nil))
			body, _ := io.ReadAll(got.Body)
			if want := fmt.Sprintf(plainMetadata, c.issuer); string(body) != want || got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got %s, want %s", body, want)
			}
			jwks := do(h, httptest.NewRequest(http.MethodGet, c.base+"/jwks", nil))
			if jwks.StatusCode != http.StatusOK || jwks.Header.Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("jwks: %d %v", jwks.StatusCode, jwks.Header)
			}
			for path, status := range map[string]int{c.base + "/jwks": 405, c.metadata: 405, "/nowhere": 404} {
				if got := do(h, httptest.NewRequest(http.MethodPost, path, nil)); got.StatusCode != status {
					t.Errorf("POST %s: %d, want %d", path, got.StatusCode, status)
				}
			}
		})
	}
}

// discovered is the metadata of a server with everything.
func discovered(t *testing.T) map[string]any {
	t.Helper()
	h := handler(t, &fake{}, func(c *oauthhttp.Config) {
		c.MTLS, c.ProofAlgorithms, c.SigningAlgorithms = "https://mtls.sts.example", []string{"ES256", "EdDSA"}, []string{"ES256"}
	})
	body, err := io.ReadAll(do(h, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-authorization-server", nil)).Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMetadataMembers: MD5, and whose members they are.
func TestMetadataMembers(t *testing.T) {
	t.Parallel()
	m := discovered(t)
	for _, c := range []struct {
		name, member string
		want         any
	}{
		{"MD5 DP9 algorithms of proofs", "dpop_signing_alg_values_supported", []any{"ES256", "EdDSA"}},
		{"MD5 MT3 tokens bound to certificates", "tls_client_certificate_bound_access_tokens", true},
		{"MT3 endpoints that ask for certificates", "mtls_endpoint_aliases", map[string]any{
			"token_endpoint":         "https://mtls.sts.example/token",
			"introspection_endpoint": "https://mtls.sts.example/introspect",
			"revocation_endpoint":    "https://mtls.sts.example/revoke",
		}},
		{"IN7 algorithms of signed answers", "introspection_signing_alg_values_supported", []any{"ES256"}},
		{"JG6 the grant's profile", "authorization_grant_profiles_supported", []any{"urn:ietf:params:oauth:grant-profile:id-jag"}},
		{"MD5 what may be asked for another server", "identity_chaining_requested_token_types_supported",
			[]any{"urn:ietf:params:oauth:token-type:id-jag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, want := fmt.Sprint(m[c.member]), fmt.Sprint(c.want); got != want {
				t.Errorf("%s: got %s, want %s", c.member, got, want)
			}
		})
	}
	for _, endpoint := range []string{"token", "introspection", "revocation"} {
		t.Run("MD4 client authentication at "+endpoint, func(t *testing.T) {
			t.Parallel()
			methods := fmt.Sprint(m[endpoint+"_endpoint_auth_methods_supported"])
			for _, method := range []string{"client_secret_basic", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth", "spiffe_x509"} {
				if !strings.Contains(methods, method) {
					t.Errorf("%s lacks %s", methods, method)
				}
			}
			algorithms, ok := m[endpoint+"_endpoint_auth_signing_alg_values_supported"].([]any)
			if !ok || slices.Contains(algorithms, any("none")) {
				t.Errorf("algorithms %v", algorithms)
			}
		})
	}
	t.Run("MD2 MD5 nothing that is not so, and no empty array but one", func(t *testing.T) {
		t.Parallel()
		for _, member := range []string{"authorization_endpoint", "scopes_supported", "authorization_details_types_supported",
			"code_challenge_methods_supported", "protected_resources", "status_list_aggregation_endpoint", "registration_endpoint",
			"client_id_metadata_document_supported", "authorization_response_iss_parameter_supported"} {
			if v, there := m[member]; there {
				t.Errorf("%s is %v", member, v)
			}
		}
		for member, v := range m {
			if list, ok := v.([]any); ok && len(list) == 0 && member != "response_types_supported" { // C7
				t.Errorf("%s is empty", member)
			}
		}
	})
}
