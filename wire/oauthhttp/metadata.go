package oauthhttp

import (
	"encoding/json"
	"strings"

	"github.com/onbehalf/obo/exchange"
)

// document is the RFC 8414 document: only what is true, and every member whose default would lie (MD3).
//
// Not there, because it differs from org to org and the document is one for all: scopes_supported, protected_resources,
// authorization_details_types_supported. Not there, because it is not there: everything of an authorization endpoint, client
// registration, status lists.
type document struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
	JWKSURI       string `json:"jwks_uri"`
	// There is no authorization endpoint. RFC 8414 requires the member and forbids an empty one (C7): clients need it.
	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	GrantProfiles []string `json:"authorization_grant_profiles_supported"` // JG6

	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs    []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"` // MD4; the same trio below

	IntrospectionEndpoint    string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionAlgs        []string `json:"introspection_signing_alg_values_supported,omitempty"` // RFC 9701 section 7

	RevocationEndpoint    string   `json:"revocation_endpoint"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`

	ProofAlgs     []string `json:"dpop_signing_alg_values_supported,omitempty"` // DP9
	ChainingTypes []string `json:"identity_chaining_requested_token_types_supported"`

	CertificateBound bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"` // MT3
	Aliases          *aliases `json:"mtls_endpoint_aliases,omitempty"`                      // MT3
}

// aliases are the endpoints that ask for a client certificate (RFC 8705 section 5).
type aliases struct {
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
}

func metadata(cfg Config) ([]byte, error) {
	base := strings.TrimSuffix(cfg.Issuer, "/")
	methods := []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt"}
	m := document{
		Issuer:        cfg.Issuer, // byte for byte what clients compare (MD1)
		TokenEndpoint: base + tokenPath, JWKSURI: base + jwksPath,
		IntrospectionEndpoint: base + introspectPath, RevocationEndpoint: base + revokePath,
		ResponseTypes:     []string{},
		GrantTypes:        []string{exchange.GrantType, exchange.GrantClientCredentials, exchange.GrantJWTBearer},
		GrantProfiles:     []string{"urn:ietf:params:oauth:grant-profile:id-jag"},
		ChainingTypes:     []string{exchange.TypeIDJAG},
		AuthAlgs:          cfg.ClientAlgorithms,
		ProofAlgs:         cfg.ProofAlgorithms,
		IntrospectionAlgs: cfg.SigningAlgorithms,
	}
	if cfg.MTLS != "" {
		at := strings.TrimSuffix(cfg.MTLS, "/")
		methods = append(methods, "tls_client_auth", "self_signed_tls_client_auth", "spiffe_x509")
		m.CertificateBound, m.Aliases = true, &aliases{at + tokenPath, at + introspectPath, at + revokePath}
	}
	m.AuthMethods, m.IntrospectionAuthMethods, m.RevocationAuthMethods = methods, methods, methods
	m.IntrospectionAuthAlgs, m.RevocationAuthAlgs = m.AuthAlgs, m.AuthAlgs
	return json.Marshal(m)
}
