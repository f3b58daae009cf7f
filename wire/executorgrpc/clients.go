package executorgrpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/page"
)

// PutClient implements ExecutorAdminService.
func (s adminServer) PutClient(ctx context.Context, in *obov1.PutClientRequest) (*obov1.PutClientResponse, error) {
	secret := []byte(in.GetSecret())
	defer clear(secret)
	got, err := s.as(ctx).PutClient(ctx, executor.PutClientRequest{
		Org: in.GetOrgId(), ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
		Registration: connection.Registration{
			Name: in.GetName(), ClientID: in.GetClientId(), Secret: secret, Settings: in.GetSettings(),
		},
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.PutClientResponse{Client: client(got), RedirectUri: s.redirectURI}, nil
}

// ListClients implements ExecutorAdminService.
func (s adminServer) ListClients(ctx context.Context, in *obov1.ListClientsRequest) (*obov1.ListClientsResponse, error) {
	p, err := page.Of(in)
	if err != nil {
		return nil, err
	}
	clients, err := s.admin.ListClients(ctx, in.GetOrgId(), p.After, p.Size)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListClientsResponse{Clients: make([]*obov1.Client, len(clients)), RedirectUri: s.redirectURI}
	for i, c := range clients {
		out.Clients[i] = client(c)
	}
	out.NextPageToken = page.Full(p, clients, func(c store.Client) string { return c.Name })
	return out, nil
}

// DeleteClient implements ExecutorAdminService.
func (s adminServer) DeleteClient(ctx context.Context, in *obov1.DeleteClientRequest) (*obov1.DeleteClientResponse, error) {
	got, err := s.as(ctx).DeleteClient(ctx, executor.DeleteClientRequest{
		Org: in.GetOrgId(), Name: in.GetName(), ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.DeleteClientResponse{Client: client(got)}, nil
}

// client is a client without its secret, sealed or not.
func client(c store.Client) *obov1.Client {
	return &obov1.Client{
		Name: c.Name, ClientId: c.ClientID, Confidential: executor.Confidential(c), Settings: c.Settings, Version: c.Version,
		Updated: timestamppb.New(c.Updated),
	}
}
