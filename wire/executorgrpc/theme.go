package executorgrpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
)

// PutTheme implements ExecutorAdminService.
func (s adminServer) PutTheme(ctx context.Context, in *obov1.PutThemeRequest) (*obov1.PutThemeResponse, error) {
	got, err := s.as(ctx).PutTheme(ctx, executor.PutThemeRequest{
		Org: in.GetOrgId(), Name: in.GetName(), Accent: in.GetAccent(), ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.PutThemeResponse{Theme: theme(got)}, nil
}

// GetTheme implements ExecutorAdminService.
func (s adminServer) GetTheme(ctx context.Context, in *obov1.GetThemeRequest) (*obov1.GetThemeResponse, error) {
	got, err := s.admin.Theme(ctx, in.GetOrgId())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.GetThemeResponse{Theme: theme(got)}, nil
}

func theme(t store.Theme) *obov1.Theme {
	out := &obov1.Theme{Name: t.Name, Accent: t.Accent, Version: t.Version}
	if t.Version > 0 {
		out.Updated = timestamppb.New(t.Updated)
	}
	return out
}
