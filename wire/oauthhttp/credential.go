package oauthhttp

import (
	"net/http"
	"net/netip"
	"net/url"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/telemetry"
)

// credential finds what the client authenticates with: HTTP Basic, client_secret_post, a client assertion, or the certificate
// of its TLS connection; and what it proves beside, which is a DPoP proof or that certificate again. It finds and does not
// judge; exchange authenticates, so both doors know the same clients. Two at once is an attempt to make two readers disagree
// (TE11); a certificate may be there beside another credential, since it also binds tokens (RFC 8705 section 3).
func (d door) credential(r *http.Request, f form, path string) (exchange.Credential, error) {
	c := exchange.Credential{
		ClientID: f.get("client_id"), RemoteIP: remoteIP(r),
		Proofs: r.Header.Values("DPoP"), Method: r.Method, URI: d.base(r) + path, // DP1: all values, so that two are seen
	}
	if r.TLS != nil {
		c.Certificates = r.TLS.PeerCertificates // of the connection, never of a header (CA8)
	}
	header, assertion, secret := len(r.Header.Values("Authorization")), f.get("client_assertion"), f.get("client_secret")
	switch {
	case (assertion != "" || f.get("client_assertion_type") != "") && (header > 0 || secret != ""):
		return exchange.Credential{}, refuse(exchange.InvalidClient, "one way of client authentication at a time")
	case header > 0 && secret != "", header > 1:
		return exchange.Credential{}, refuse(exchange.InvalidRequest, "one way of client authentication at a time")
	case header == 1:
		return basic(r, c)
	case assertion != "":
		c.Assertion, c.AssertionType = assertion, f.get("client_assertion_type")
		if c.AssertionType != exchange.ClientAssertionType && c.AssertionType != exchange.ClientAssertionSPIFFE { // CA3, CA10
			return exchange.Credential{}, refuse(exchange.InvalidClient,
				"client_assertion_type must be "+exchange.ClientAssertionType+" or "+exchange.ClientAssertionSPIFFE)
		}
	case f.get("client_assertion_type") != "":
		return exchange.Credential{}, refuse(exchange.InvalidClient, "client_assertion_type comes with a client_assertion")
	case secret != "":
		c.Secret = telemetry.Secret(secret)
	}
	if c.Assertion == "" && (c.ClientID == "" || c.Secret == "" && len(c.Certificates) == 0) { // TX16, CA7
		return exchange.Credential{}, refuse(exchange.InvalidClient,
			"the client must authenticate: HTTP Basic, client_secret, client_assertion, or a TLS certificate with client_id")
	}
	return c, nil
}

// basic reads RFC 6749 section 2.3.1 credentials: id and secret are form-encoded before base64 (CA1).
func basic(r *http.Request, c exchange.Credential) (exchange.Credential, error) {
	rawID, rawSecret, ok := r.BasicAuth()
	id, errID := url.QueryUnescape(rawID)
	secret, errSecret := url.QueryUnescape(rawSecret)
	switch {
	case !ok, errID != nil, errSecret != nil, id == "", secret == "":
		return exchange.Credential{}, refuse(exchange.InvalidClient, "the Authorization header is not well-formed Basic")
	case c.ClientID != "" && c.ClientID != id:
		return exchange.Credential{}, refuse(exchange.InvalidClient, "client_id names another client than the header")
	}
	c.ClientID, c.Secret = id, telemetry.Secret(secret)
	return c, nil
}

// remoteIP is the peer of the connection. A forwarding header is anybody's claim, so none is read (CA8).
func remoteIP(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

func refuse(reason exchange.Reason, description string) error {
	return &exchange.Error{Reason: reason, Description: description}
}
