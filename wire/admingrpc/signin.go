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

// SignIn makes administrators' tokens, and takes them back: *exchange.Service.
type SignIn interface {
	SignIn(ctx context.Context, org delegation.OrgID, token string) (exchange.SignedIn, error)
	SignOut(ctx context.Context, token string) error
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
	if err != nil {
		return nil, refusal(err)
	}
	return &obov1.SignInResponse{
		Token: got.Token.Reveal(), Expires: timestamppb.New(got.Expiry), Subject: got.Subject, Role: got.Role,
	}, nil
}

// SignOut implements SignInService. Its caller authenticates by the token.
func (d door) SignOut(ctx context.Context, in *obov1.SignOutRequest) (*obov1.SignOutResponse, error) {
	if token := in.GetToken(); token == "" || len(token) > maxLogin {
		return nil, invalid("token", "token must be an administrator's token")
	}
	if err := d.signIn.SignOut(ctx, in.GetToken()); err != nil {
		return nil, refusal(err)
	}
	return &obov1.SignOutResponse{}, nil
}

// refusal gives a refusal of exchange its place in the table of grpcerr.
func refusal(err error) error {
	if refused, ok := errors.AsType[*exchange.Error](err); ok {
		return grpcerr.Error{Reason: grpcerr.Reason(refused.Reason), Description: refused.Description, RetryAfter: refused.RetryAfter, Cause: err}
	}
	return err
}
