package admingrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// SignIn makes administrators' tokens: *exchange.Service.
type SignIn interface {
	SignIn(ctx context.Context, org delegation.OrgID, token string) (exchange.SignedIn, error)
}

// RegisterSignIn puts SignInService on a server. It is open to everybody, because a caller shows who it is.
func RegisterSignIn(s grpc.ServiceRegistrar, signIn SignIn) {
	obov1.RegisterSignInServiceServer(s, door{signIn: signIn})
}

type door struct {
	obov1.UnimplementedSignInServiceServer
	signIn SignIn
}

// maxLogin is the longest token that is looked at, in bytes.
const maxLogin = 16 << 10

// SignIn implements SignInService.
func (d door) SignIn(ctx context.Context, in *obov1.SignInRequest) (*obov1.SignInResponse, error) {
	org := store.PlatformOrg
	if in.GetOrgId() != "" {
		var err error
		if org, err = orgID(in.GetOrgId()); err != nil {
			return nil, err
		}
	}
	if token := in.GetToken(); token == "" || len(token) > maxLogin {
		return nil, invalid("token", "token must be a login of at most 16 KiB")
	}
	got, err := d.signIn.SignIn(ctx, org, in.GetToken())
	var refused *exchange.Error
	switch {
	case errors.As(err, &refused):
		return nil, grpcerr.Error{Reason: grpcerr.Reason(refused.Reason), Description: refused.Description, RetryAfter: refused.RetryAfter, Cause: err}
	case err != nil:
		return nil, err
	}
	return &obov1.SignInResponse{
		Token: got.Token.Reveal(), Expires: timestamppb.New(got.Expiry), Subject: got.Subject, Role: got.Role,
	}, nil
}
