package admingrpc

import (
	"context"

	"github.com/onbehalf/obo/exchange/admin"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

// PutSignalCredential implements AdminService.
func (s server) PutSignalCredential(ctx context.Context, in *obov1.PutSignalCredentialRequest) (*obov1.PutSignalCredentialResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	got, err := s.as(ctx).PutSignalCredential(ctx, admin.PutSignalCredentialRequest{
		Org: org, Stream: in.GetStream(), Credential: telemetry.Secret(in.GetCredential()), Remove: in.GetRemove(),
		DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.PutSignalCredentialResponse{Changes: changes(got)}, nil
}

// ListSignalStreams implements AdminService.
func (s server) ListSignalStreams(ctx context.Context, in *obov1.ListSignalStreamsRequest) (*obov1.ListSignalStreamsResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	streams, err := s.admin.ListSignalStreams(ctx, org)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListSignalStreamsResponse{Streams: make([]*obov1.SignalStream, len(streams))}
	for i, v := range streams {
		out.Streams[i] = &obov1.SignalStream{
			Name: v.Name, Issuer: v.Issuer, Transmitter: v.Transmitter, PollEndpoint: v.PollEndpoint, State: v.State,
			Credential: stamp(v.Credentialed), Succeeded: stamp(v.Succeeded), Failed: stamp(v.Failed), Reason: v.Reason,
		}
	}
	return out, nil
}
