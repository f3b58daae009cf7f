package main

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/orgdir"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type platformCommand struct {
	Apply platformApplyCommand `cmd:"" help:"Replace the operator's policies."`
}

type platformApplyCommand struct {
	dryRunFlag
	File string `short:"f" required:"" placeholder:"DIR" help:"Directory with *.cedar files."`
}

// Help is shown below the flags.
func (platformApplyCommand) Help() string {
	return `They are evaluated with those of every org, and no org can remove them. The set is replaced whole, unless somebody else replaces it
at the same moment.

Examples:
  obo platform apply -f guardrails --dry-run
  obo platform apply -f guardrails`
}

func (c platformApplyCommand) Run(ctx context.Context, a *app) error {
	files, err := orgdir.ReadPolicies(c.File)
	if err != nil {
		return explain.Failure("cannot read the policies", err, "name a directory with *.cedar files")
	}
	if len(files) == 0 {
		return explain.Failure(c.File+" has no *.cedar file", nil,
			"an empty set would lift every guardrail; put at least one file there")
	}
	req := &obov1.ApplyPlatformRequest{DryRun: true}
	for _, f := range files {
		req.Policies = append(req.Policies, &obov1.PolicyFile{Name: f.Name, Text: f.Text})
	}
	return a.onServer(ctx, "the token server does not take the policies", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.ApplyPlatform(ctx, req)
		if err == nil && !c.DryRun {
			req.DryRun, req.ExpectedVersion = false, proto.Int64(resp.GetVersion())
			resp, err = s.Admin.ApplyPlatform(ctx, req)
		}
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			a.showChanges(resp.GetChanges())
			if !c.DryRun {
				a.Printf("%s, version %d\n", a.Green("applied"), resp.GetVersion())
			}
		})
	})
}
