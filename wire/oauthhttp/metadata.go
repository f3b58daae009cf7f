package oauthhttp

import (
	"encoding/json"
	"strings"

	"github.com/onbehalf/obo/exchange"
)

// metadata is the RFC 8414 document: only what is true, and every member whose default would lie (MD3).
func metadata(cfg Config) ([]byte, error) {
	base := strings.TrimSuffix(cfg.Issuer, "/")
	return json.Marshal(struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
		JWKSURI       string `json:"jwks_uri"`
		// There is no authorization endpoint. RFC 8414 requires the member and forbids an empty one (C7): clients need it.
		ResponseTypes []string `json:"response_types_supported"`
		GrantTypes    []string `json:"grant_types_supported"`
		AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
		AuthAlgs      []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	}{
		Issuer:        cfg.Issuer, // byte for byte what clients compare (MD1)
		TokenEndpoint: base + "/token",
		JWKSURI:       base + "/jwks",
		ResponseTypes: []string{},
		GrantTypes:    []string{exchange.GrantType},
		AuthMethods:   []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		AuthAlgs:      cfg.ClientAlgorithms,
	})
}
