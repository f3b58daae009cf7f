package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/onbehalf/obo/jose"
)

// Metadata is what a client needs of the authorization server's metadata (RFC 8414 §2).
type Metadata struct {
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
	JWKSURI               string   `json:"jwks_uri,omitempty"`
	GrantTypes            []string `json:"grant_types_supported,omitempty"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	DPoPAlgorithms        []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DetailTypes           []string `json:"authorization_details_types_supported,omitempty"`
	// Aliases are the endpoints for clients that authenticate by certificate (RFC 8705 §5).
	Aliases Aliases `json:"mtls_endpoint_aliases,omitzero"`
}

// Aliases are endpoints on another host, which asks for client certificates.
type Aliases struct {
	TokenEndpoint         string `json:"token_endpoint,omitempty"`
	IntrospectionEndpoint string `json:"introspection_endpoint,omitempty"`
	RevocationEndpoint    string `json:"revocation_endpoint,omitempty"`
}

// maxAnswer bounds every answer that is read.
const maxAnswer = 256 << 10

// Discover reads the metadata of an issuer (RFC 8414 §3): the URL has the well-known part between host and path, and the
// document must name the issuer exactly as it was asked for (MD1). Only https is spoken, and http with this very machine. hc
// may be nil.
func Discover(ctx context.Context, issuer string, hc *http.Client) (Metadata, error) {
	u, err := endpoint(issuer)
	if err != nil {
		return Metadata{}, fmt.Errorf("client: cannot use the issuer: %w", err)
	}
	if u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#") {
		return Metadata{}, errors.New("client: cannot use the issuer: it has a query or a fragment (RFC 8414 section 2)")
	}
	u.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
	u.RawPath = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Metadata{}, fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := direct(hc).Do(req)
	if err != nil {
		return Metadata{}, fmt.Errorf("client: cannot read the metadata of %s: %w", issuer, err)
	}
	defer resp.Body.Close()
	body, err := readAnswer(resp)
	if err != nil {
		return Metadata{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Metadata{}, fmt.Errorf("client: cannot read the metadata of %s: %s answered %d", issuer, u, resp.StatusCode)
	}
	var m Metadata
	if err := decode(body, &m); err != nil {
		return Metadata{}, fmt.Errorf("client: the metadata of %s is not the JSON of RFC 8414: %w", issuer, err)
	}
	if m.Issuer != issuer {
		return Metadata{}, fmt.Errorf("client: the metadata at %s is of issuer %q, not of %q (RFC 8414 section 3.3)",
			u, m.Issuer, issuer)
	}
	return m, m.check()
}

// check makes sure that no endpoint is one that a credential would be sent to in the clear.
func (m Metadata) check() error {
	if m.TokenEndpoint == "" {
		return errors.New("client: the metadata names no token_endpoint")
	}
	for name, address := range map[string]string{
		"token_endpoint": m.TokenEndpoint, "introspection_endpoint": m.IntrospectionEndpoint,
		"revocation_endpoint": m.RevocationEndpoint, "jwks_uri": m.JWKSURI,
		"the alias of token_endpoint": m.Aliases.TokenEndpoint, "the alias of introspection_endpoint": m.Aliases.IntrospectionEndpoint,
		"the alias of revocation_endpoint": m.Aliases.RevocationEndpoint,
	} {
		if address == "" {
			continue
		}
		if _, err := endpoint(address); err != nil {
			return fmt.Errorf("client: cannot use %s: %w", name, err)
		}
	}
	return nil
}

// endpoint parses the address of a server that credentials may be sent to.
func endpoint(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Host == "" || u.User != nil || u.Opaque != "":
		return nil, fmt.Errorf("%q must be an absolute URL without credentials", printable(address))
	case !private(u):
		return nil, fmt.Errorf("%q must be https; http is only for loopback addresses", printable(address))
	}
	return u, nil
}

// private reports whether nobody on the way can read what is sent to u (TX20): TLS, or this very machine.
func private(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func readAnswer(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: the answer did not arrive whole: %w", err)
	case len(body) > maxAnswer:
		return nil, errTooLarge
	}
	return body, nil
}

// decode reads JSON with exact names and no duplicates: two readers of one answer must not differ.
func decode(body []byte, v any) error { return jose.Decode(body, v) }
