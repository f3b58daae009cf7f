package executorgrpc

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/wire/grpcpeer"
)

// The metadata that this door reads and writes beside "authorization".
const (
	proofKey     = "dpop"             // a DPoP proof
	nonceKey     = "dpop-nonce"       // for the next one (DP10)
	challengeKey = "www-authenticate" // as over HTTP
)

// presented finds the token and what came with it. It finds and does not judge.
func (s server) presented(ctx context.Context, method string) (executor.Presented, error) {
	from := grpcpeer.From(ctx, method, s.Hosts)
	p := executor.Presented{
		Method: grpcpeer.Method, URI: from.URI, Certificates: from.Certificates, Proofs: metadata.ValueFromIncomingContext(ctx, proofKey),
	}
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

// trailer adds values under a name; empty ones are none.
func trailer(ctx context.Context, name string, values ...string) {
	for _, value := range values {
		if value != "" {
			_ = grpc.SetTrailer(ctx, metadata.Pairs(name, value)) // fails outside a call only
		}
	}
}
