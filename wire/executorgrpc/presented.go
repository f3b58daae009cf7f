package executorgrpc

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/onbehalf/obo/executor"
)

// The metadata that this door reads and writes beside "authorization".
const (
	proofKey     = "dpop"             // a DPoP proof
	nonceKey     = "dpop-nonce"       // for the next one (DP10)
	challengeKey = "www-authenticate" // as over HTTP
)

// presented finds the token and what came with it. It finds and does not judge. A client certificate is that of the TLS
// connection alone: whatever a header says of one is anybody's claim, and none is read (CA8).
func (s server) presented(ctx context.Context, method string) (executor.Presented, error) {
	p := executor.Presented{Method: "POST", Proofs: metadata.ValueFromIncomingContext(ctx, proofKey)}
	tls := false
	if from, ok := peer.FromContext(ctx); ok {
		var info credentials.TLSInfo
		if info, tls = from.AuthInfo.(credentials.TLSInfo); tls {
			p.Certificates = info.State.PeerCertificates
		}
	}
	p.URI = s.uri(ctx, tls, method)
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch len(values) {
	case 0:
		return p, missing()
	case 1:
	default: // two readers of two values could take different ones (DP6)
		return p, &executor.Error{
			Reason: executor.InvalidRequest, Field: "authorization", Description: "send one authorization metadata value",
		}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") || token == "" {
		return p, missing()
	}
	p.Scheme, p.Token = scheme, token
	return p, nil
}

func missing() *executor.Error {
	return &executor.Error{
		Reason: executor.InvalidToken, Description: "the authorization metadata must be Bearer or DPoP and a delegation token",
	}
}

// uri is what a proof for this call has as htu: https, also when somebody in front of us ends the TLS, and http only for
// plaintext to this machine itself (DP10). The authority is the caller's own word, so its host must be one of ours: otherwise
// whoever is called by another name could relay the proofs that it gets.
func (s server) uri(ctx context.Context, tls bool, method string) string {
	values := metadata.ValueFromIncomingContext(ctx, ":authority")
	if len(values) != 1 {
		return ""
	}
	at, err := url.Parse("https://" + values[0] + method)
	if err != nil || at.Host != values[0] || at.Path != method { // it holds a path, or somebody's name before the host
		return ""
	}
	if !slices.ContainsFunc(s.Hosts, func(ours string) bool { return strings.EqualFold(ours, at.Hostname()) }) {
		return ""
	}
	if !tls && loopback(at.Hostname()) {
		at.Scheme = "http"
	}
	return at.String()
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// trailer adds values under a name; empty ones are none.
func trailer(ctx context.Context, name string, values ...string) {
	for _, value := range values {
		if value != "" {
			_ = grpc.SetTrailer(ctx, metadata.Pairs(name, value)) // fails outside a call only
		}
	}
}
