package executorgrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
)

// Connect asks users to connect accounts: *executor.Connect. Every refusal MUST be an *executor.Error.
type Connect interface {
	Authorize(ctx context.Context, p executor.Presented, a executor.Ask) (connection.Authorized, string, error)
	Await(ctx context.Context, p executor.Presented, id string, most time.Duration) (connection.Authorized, string, error)
	List(ctx context.Context, p executor.Presented, provider string) ([]store.Connection, string, error)
}

// RegisterConnect puts ConnectService on a server. It authenticates its callers itself, by the delegation token that they send, as
// ExecutorService does.
func RegisterConnect(s grpc.ServiceRegistrar, c Config, connect Connect) {
	obov1.RegisterConnectServiceServer(s, connectServer{door: server{Config: c}, connect: connect})
}

type connectServer struct {
	obov1.UnimplementedConnectServiceServer
	door    server
	connect Connect
}

// Authorize implements ConnectService.
func (s connectServer) Authorize(ctx context.Context, in *obov1.AuthorizeRequest) (*obov1.AuthorizeResponse, error) {
	p, err := s.door.presented(ctx, obov1.ConnectService_Authorize_FullMethodName)
	if err != nil {
		return nil, s.door.refused(ctx, p, err)
	}
	got, nonce, err := s.connect.Authorize(ctx, p, executor.Ask{
		Tool: in.GetTool(), Provider: in.GetProvider(), Scopes: in.GetScopes(), Connection: in.GetConnection(),
	})
	if err != nil {
		return nil, s.door.refused(ctx, p, err)
	}
	trailer(ctx, nonceKey, nonce)
	return &obov1.AuthorizeResponse{Authorization: authorization(got)}, nil
}

// AwaitAuthorization implements ConnectService.
func (s connectServer) AwaitAuthorization(
	ctx context.Context, in *obov1.AwaitAuthorizationRequest,
) (*obov1.AwaitAuthorizationResponse, error) {
	p, err := s.door.presented(ctx, obov1.ConnectService_AwaitAuthorization_FullMethodName)
	if err != nil {
		return nil, s.door.refused(ctx, p, err)
	}
	got, nonce, err := s.connect.Await(ctx, p, in.GetId(), in.GetWait().AsDuration())
	if err != nil {
		return nil, s.door.refused(ctx, p, err)
	}
	trailer(ctx, nonceKey, nonce)
	return &obov1.AwaitAuthorizationResponse{Authorization: authorization(got)}, nil
}

// ListAccounts implements ConnectService.
func (s connectServer) ListAccounts(ctx context.Context, in *obov1.ListAccountsRequest) (*obov1.ListAccountsResponse, error) {
	p, err := s.door.presented(ctx, obov1.ConnectService_ListAccounts_FullMethodName)
	if err != nil {
		return nil, s.door.refused(ctx, p, err)
	}
	conns, nonce, err := s.connect.List(ctx, p, in.GetProvider())
	if err != nil {
		return nil, s.door.refused(ctx, p, err)
	}
	trailer(ctx, nonceKey, nonce)
	out := &obov1.ListAccountsResponse{}
	for _, c := range conns {
		out.Accounts = append(out.Accounts, &obov1.Account{
			Connection: c.ID, Provider: c.Provider, Shared: c.Subject == "", Status: c.Status, Account: c.Account,
		})
	}
	return out, nil
}

// AuthorizeConnection implements ExecutorAdminService.
func (s adminServer) AuthorizeConnection(
	ctx context.Context, in *obov1.AuthorizeConnectionRequest,
) (*obov1.AuthorizeConnectionResponse, error) {
	got, err := s.as(ctx).AuthorizeConnection(ctx, in.GetOrgId(), connection.Wish{
		Subject: in.GetSubject(), Provider: in.GetProvider(), Connection: in.GetConnection(), Scopes: in.GetScopes(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.AuthorizeConnectionResponse{Authorization: authorization(got)}, nil
}

// AwaitConnection implements ExecutorAdminService.
func (s adminServer) AwaitConnection(ctx context.Context, in *obov1.AwaitConnectionRequest) (*obov1.AwaitConnectionResponse, error) {
	got, err := s.admin.AwaitConnection(ctx, in.GetOrgId(), in.GetId(), in.GetWait().AsDuration())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.AwaitConnectionResponse{Authorization: authorization(got)}, nil
}

func authorization(a connection.Authorized) *obov1.Authorization {
	out := &obov1.Authorization{Id: a.ID, Status: a.Status, Reason: a.Reason, Connection: a.Connection, Url: a.URL}
	if !a.Expires.IsZero() {
		out.Expires = timestamppb.New(a.Expires)
	}
	return out
}
