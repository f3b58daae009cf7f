package exchangegrpc

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/grpcpeer"
)

// credential finds what the client authenticates with: in the `authorization` metadata Basic with its id and secret
// (RFC 6749 section 2.3.1), or Bearer with a client assertion, a JWT-SVID (WI4) or a workload token, which exchange tells
// apart; or the certificate of the connection. `obo-client-id` names the client where the credential does not. It finds and
// does not judge.
func (s server) credential(ctx context.Context, method string) (exchange.Credential, error) {
	from := grpcpeer.From(ctx, method, s.hosts)
	c := exchange.Credential{
		RemoteIP: from.IP, Certificates: from.Certificates, Method: grpcpeer.Method, URI: from.URI,
		Proofs: metadata.ValueFromIncomingContext(ctx, "dpop"), // DP1: all values, so that two are seen
	}
	ids := metadata.ValueFromIncomingContext(ctx, "obo-client-id")
	if len(ids) > 1 {
		return exchange.Credential{}, unauthenticated("one obo-client-id value at a time")
	}
	if len(ids) == 1 {
		c.ClientID = ids[0]
	}
	if err := authorization(ctx, &c); err != nil {
		return exchange.Credential{}, err
	}
	if c.URI == "" && len(c.Proofs) > 0 {
		return exchange.Credential{}, grpcerr.Error{Reason: grpcerr.InvalidProof,
			Description: "a proof names a URI of this server, and the authority of this call is not one of its hosts"}
	}
	return c, nil
}

// authorization reads the metadata of that name into a credential.
func authorization(ctx context.Context, c *exchange.Credential) error {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch {
	case len(values) == 0 && len(c.Certificates) > 0 && c.ClientID != "": // CA7
		return nil
	case len(values) == 0:
		return unauthenticated("the client must authenticate: authorization metadata with Basic or Bearer, " +
			"or a TLS certificate with obo-client-id") // TX16
	case len(values) > 1: // two readers could take different ones
		return unauthenticated("one authorization value at a time")
	}
	scheme, value, _ := strings.Cut(values[0], " ")
	switch strings.ToLower(scheme) {
	case "basic":
		id, secret, ok := basic(value)
		if !ok {
			return unauthenticated("the authorization metadata is not well-formed Basic")
		}
		if c.ClientID != "" && c.ClientID != id {
			return unauthenticated("obo-client-id names another client than the authorization metadata")
		}
		c.ClientID, c.Secret = id, telemetry.Secret(secret)
	case "bearer":
		if value == "" {
			return unauthenticated("the authorization metadata holds no client assertion")
		}
		c.Assertion = value
	default:
		return unauthenticated("the authorization scheme must be Basic or Bearer")
	}
	return nil
}

// basic reads base64 of id:secret, each form-encoded (CA1).
func basic(value string) (id, secret string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", false
	}
	rawID, rawSecret, found := strings.Cut(string(text), ":")
	id, errID := url.QueryUnescape(rawID)
	secret, errSecret := url.QueryUnescape(rawSecret)
	return id, secret, found && errID == nil && errSecret == nil && id != "" && secret != ""
}

func unauthenticated(description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidClient, Description: description}
}
