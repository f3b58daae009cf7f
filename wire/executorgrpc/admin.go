package executorgrpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/page"
)

// MaxRequest bounds a request of an operator in bytes: an org's whole set of provider records.
const MaxRequest = 4 << 20

// RegisterAdmin puts the operator's service on a server whose interceptors authenticate operators.
// redirectURI is what an org registers with its clients.
func RegisterAdmin(s grpc.ServiceRegistrar, a *executor.Admin, redirectURI string) {
	obov1.RegisterExecutorAdminServiceServer(s, adminServer{admin: a, redirectURI: redirectURI})
}

type adminServer struct {
	obov1.UnimplementedExecutorAdminServiceServer
	admin       *executor.Admin
	redirectURI string
}

// as is the service for whoever makes the call: wire/grpcauth has authenticated and judged the caller.
func (s adminServer) as(ctx context.Context) executor.Session {
	return s.admin.As(grpcauth.Administrator(ctx))
}

// ApplyProviders implements ExecutorAdminService.
func (s adminServer) ApplyProviders(ctx context.Context, in *obov1.ApplyProvidersRequest) (*obov1.ApplyProvidersResponse, error) {
	records := make([]store.ProviderRecord, len(in.GetProviders()))
	for i, f := range in.GetProviders() {
		records[i] = store.ProviderRecord{Name: f.GetName(), Text: []byte(f.GetText())}
	}
	got, err := s.as(ctx).ApplyProviders(ctx, executor.ApplyProvidersRequest{
		Org: in.GetOrgId(), Records: records, ETag: in.GetEtag(), DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.ApplyProvidersResponse{Providers: got.Providers, Etag: got.ETag, Changes: changes(got.Changes)}, nil
}

// GetProviders implements ExecutorAdminService.
func (s adminServer) GetProviders(ctx context.Context, in *obov1.GetProvidersRequest) (*obov1.GetProvidersResponse, error) {
	records, etag, err := s.admin.ProviderRecords(ctx, in.GetOrgId())
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.GetProvidersResponse{Providers: make([]*obov1.ProviderFile, len(records)), Etag: etag}
	for i, r := range records {
		out.Providers[i] = &obov1.ProviderFile{Name: r.Name, Text: string(r.Text)}
	}
	return out, nil
}

// PutConnection implements ExecutorAdminService.
func (s adminServer) PutConnection(ctx context.Context, in *obov1.PutConnectionRequest) (*obov1.PutConnectionResponse, error) {
	secret := []byte(in.GetSecret())
	defer clear(secret)
	got, err := s.as(ctx).PutConnection(ctx, executor.PutConnectionRequest{
		Org: in.GetOrgId(), ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
		Link: connection.Link{
			ID: in.GetConnection(), Provider: in.GetProvider(), Pattern: connection.Pattern(in.GetPattern()), Subject: in.GetSubject(),
			Credential: vault.NewCredential(in.GetUsername(), secret), Settings: in.GetSettings(),
		},
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.PutConnectionResponse{Connection: shown(got)}, nil
}

// ListConnections implements ExecutorAdminService.
func (s adminServer) ListConnections(ctx context.Context, in *obov1.ListConnectionsRequest) (*obov1.ListConnectionsResponse, error) {
	p, err := page.Of(in)
	if err != nil {
		return nil, err
	}
	if p.After != "" && !connection.ValidID(p.After) {
		return nil, page.Invalid()
	}
	conns, err := s.admin.ListConnections(ctx, in.GetOrgId(), p.After, p.Size)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListConnectionsResponse{Connections: make([]*obov1.Connection, len(conns))}
	for i, c := range conns {
		out.Connections[i] = shown(c)
	}
	out.NextPageToken = page.Full(p, conns, func(c store.Connection) string { return c.ID })
	return out, nil
}

// GetConnection implements ExecutorAdminService.
func (s adminServer) GetConnection(ctx context.Context, in *obov1.GetConnectionRequest) (*obov1.GetConnectionResponse, error) {
	got, err := s.admin.GetConnection(ctx, in.GetOrgId(), in.GetConnection())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.GetConnectionResponse{Connection: shown(got)}, nil
}

// DeleteConnection implements ExecutorAdminService.
func (s adminServer) DeleteConnection(ctx context.Context, in *obov1.DeleteConnectionRequest) (*obov1.DeleteConnectionResponse, error) {
	got, err := s.as(ctx).DeleteConnection(ctx, executor.DeleteConnectionRequest{
		Org: in.GetOrgId(), Connection: in.GetConnection(), ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.DeleteConnectionResponse{
		Connection: shown(got.Connection), RevokedAtProvider: got.Revoked, ProviderNote: got.Note,
	}, nil
}

// ShredOrg implements ExecutorAdminService.
func (s adminServer) ShredOrg(ctx context.Context, in *obov1.ShredOrgRequest) (*obov1.ShredOrgResponse, error) {
	lost, err := s.as(ctx).ShredOrg(ctx, in.GetOrgId(), in.GetDryRun())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.ShredOrgResponse{Connections: int32(lost)}, nil
}

func changes(list []audit.Change) []*obov1.Change {
	out := make([]*obov1.Change, len(list))
	for i, c := range list {
		out[i] = &obov1.Change{Path: c.Path, Kind: c.Kind(), Before: c.Before, After: c.After}
	}
	return out
}

// shown is a connection without its credential, sealed or not.
func shown(c store.Connection) *obov1.Connection {
	out := &obov1.Connection{
		Id: c.ID, Provider: c.Provider, Pattern: c.Pattern, Subject: c.Subject, Status: c.Status, StatusReason: c.StatusReason,
		Version: c.Version, Created: timestamppb.New(c.Created), Updated: timestamppb.New(c.Updated),
		Account: c.Account, Hint: c.Hint, Scopes: c.Scopes, Settings: c.Settings,
	}
	if !c.Expires.IsZero() {
		out.Expires = timestamppb.New(c.Expires)
	}
	return out
}
