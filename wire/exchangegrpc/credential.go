package exchangegrpc

import (
	"context"
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// credential finds what the client authenticates with in the `authorization` metadata: Basic with its id and secret
// (RFC 6749 section 2.3.1), or Bearer with a client assertion (RFC 7523 section 2.2). It finds and does not judge.
func credential(ctx context.Context) (exchange.Credential, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch {
	case len(values) == 0:
		return exchange.Credential{}, unauthenticated("the authorization metadata is missing: Basic or Bearer with a client assertion") // TX16
	case len(values) > 1: // two readers could take different ones
		return exchange.Credential{}, unauthenticated("one authorization value at a time")
	}
	c := exchange.Credential{RemoteIP: remoteIP(ctx)}
	scheme, value, _ := strings.Cut(values[0], " ")
	switch strings.ToLower(scheme) {
	case "basic":
		id, secret, ok := basic(value)
		if !ok {
			return exchange.Credential{}, unauthenticated("the authorization metadata is not well-formed Basic")
		}
		c.ClientID, c.Secret = id, telemetry.Secret(secret)
	case "bearer":
		if value == "" {
			return exchange.Credential{}, unauthenticated("the authorization metadata holds no client assertion")
		}
		c.Assertion = value
	default:
		return exchange.Credential{}, unauthenticated("the authorization scheme must be Basic or Bearer")
	}
	return c, nil
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

// remoteIP is the peer of the connection. A forwarding header is anybody's claim, so none is read (CA8).
func remoteIP(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return netip.Addr{}
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

func unauthenticated(description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidClient, Description: description}
}
