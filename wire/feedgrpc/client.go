package feedgrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
)

// Client opens feeds. Its method Connect is FollowerConfig.Connect.
type Client struct {
	Conn grpc.ClientConnInterface // to the token server
	// Token is the follower credential.
	Token telemetry.Secret
	// Plaintext lets the credential travel without TLS. Only for a loopback address.
	Plaintext bool
}

// Connect opens a feed that lives until ctx ends.
func (c Client) Connect(ctx context.Context) (revocation.Stream, error) {
	return nil, errors.New("feedgrpc: not written yet")
}
