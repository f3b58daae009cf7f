// Package identitygrpc carries the question who signed in over gRPC: IdentityService for the token server, and the Client of an
// executor.
package identitygrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Identifier tells whose login an ID token is. It bounds what it is given. A refusal MUST be a grpcerr.Error; anything else is
// shown as INTERNAL_ERROR. It knows nothing of exchange, because the other half of this package is in an executor.
type Identifier interface {
	Identify(ctx context.Context, org delegation.OrgID, idToken, clientID, nonce string) (
		subject string, expiry time.Time, err error)
}

// Register puts the service on a server. Who may call it is decided before it, by grpcauth.
func Register(s grpc.ServiceRegistrar, who Identifier) {
	obov1.RegisterIdentityServiceServer(s, server{who: who})
}

type server struct {
	obov1.UnimplementedIdentityServiceServer
	who Identifier
}

// Identify implements IdentityService.
func (s server) Identify(ctx context.Context, in *obov1.IdentifyRequest) (*obov1.IdentifyResponse, error) {
	org, err := delegation.ParseOrgID(in.GetOrgId())
	if err != nil {
		return nil, grpcerr.Error{Reason: grpcerr.InvalidRequest, Field: "org_id", Description: "org_id is no org id"}
	}
	subject, expiry, err := s.who.Identify(ctx, org, in.GetIdToken(), in.GetClientId(), in.GetNonce())
	if err != nil {
		return nil, err
	}
	return &obov1.IdentifyResponse{Subject: subject, Expiry: timestamppb.New(expiry)}, nil
}
