package oauthhttp

import (
	"net/http"
	"net/netip"
	"net/url"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/telemetry"
)

// credential finds what the client authenticates with: HTTP Basic, client_secret_post or private_key_jwt. It finds and
// does not judge; exchange authenticates, so both doors know the same clients. Two at once is an attempt to make two
// readers disagree (TE11).
func credential(r *http.Request, f form) (exchange.Credential, error) {
	c := exchange.Credential{ClientID: f.get("client_id"), RemoteIP: remoteIP(r)}
	header, assertion, secret := len(r.Header.Values("Authorization")), f.get("client_assertion"), f.get("client_secret")
	switch {
	case (assertion != "" || f.get("client_assertion_type") != "") && (header > 0 || secret != ""):
		return exchange.Credential{}, refuse(exchange.InvalidClient, "one way of client authentication at a time")
	case header > 0 && secret != "", header > 1:
		return exchange.Credential{}, refuse(exchange.InvalidRequest, "one way of client authentication at a time")
	case header == 1:
		return basic(r, c)
	case assertion != "":
		if f.get("client_assertion_type") != exchange.ClientAssertionType {
			return exchange.Credential{}, refuse(exchange.InvalidClient, "client_assertion_type must be "+exchange.ClientAssertionType)
		}
		c.Assertion = assertion
	case secret != "":
		c.Secret = telemetry.Secret(secret)
	}
	if c.Assertion == "" && (c.Secret == "" || c.ClientID == "") {
		return exchange.Credential{}, refuse(exchange.InvalidClient,
			"the client must authenticate: HTTP Basic, client_secret or client_assertion") // TX16
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
