package executorgrpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// PutWebhook implements ExecutorAdminService.
func (s adminServer) PutWebhook(ctx context.Context, in *obov1.PutWebhookRequest) (*obov1.PutWebhookResponse, error) {
	got, err := s.as(ctx).PutWebhook(ctx, executor.PutWebhookRequest{
		Org: in.GetOrgId(), URL: in.GetUrl(), Secret: telemetry.Secret(in.GetSecret()),
		ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.PutWebhookResponse{
		Webhook: webhook(got.Webhook, got.Newest), Secret: got.Secret.Reveal(), Changes: changes(got.Changes),
	}, nil
}

// GetWebhook implements ExecutorAdminService.
func (s adminServer) GetWebhook(ctx context.Context, in *obov1.GetWebhookRequest) (*obov1.GetWebhookResponse, error) {
	got, newest, err := s.admin.Webhook(ctx, in.GetOrgId())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.GetWebhookResponse{Webhook: webhook(got, newest)}, nil
}

// DeleteWebhook implements ExecutorAdminService.
func (s adminServer) DeleteWebhook(ctx context.Context, in *obov1.DeleteWebhookRequest) (*obov1.DeleteWebhookResponse, error) {
	got, newest, err := s.as(ctx).DeleteWebhook(ctx, executor.DeleteWebhookRequest{
		Org: in.GetOrgId(), ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.DeleteWebhookResponse{Webhook: webhook(got, newest)}, nil
}

// TestWebhook implements ExecutorAdminService.
func (s adminServer) TestWebhook(ctx context.Context, in *obov1.TestWebhookRequest) (*obov1.TestWebhookResponse, error) {
	failure, err := s.as(ctx).TestWebhook(ctx, in.GetOrgId())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.TestWebhookResponse{Failure: failure}, nil
}

// webhook is one without its secret, sealed or not.
func webhook(w store.Webhook, newest uint64) *obov1.Webhook {
	out := &obov1.Webhook{
		Url: w.URL, Version: w.Version, Status: "active", Created: timestamppb.New(w.Created), Updated: timestamppb.New(w.Updated),
		Delivered: w.Delivered, Newest: max(newest, w.Delivered), Failures: int32(w.Failures), Failure: w.Failure,
	}
	if w.Failures > 0 {
		out.Status, out.FailingSince, out.NextAttempt = "retrying", timestamppb.New(w.Since), timestamppb.New(w.Next)
	}
	if w.Paused {
		out.Status, out.NextAttempt = "failing", nil
	}
	return out
}
