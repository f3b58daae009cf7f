package main

import (
	"context"
	"strings"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type orgCommand struct {
	List orgListCommand `cmd:"" help:"List the orgs."`
	Show orgShowCommand `cmd:"" help:"Show an org's configuration as JSON."`
}

type orgListCommand struct{ listFlags }

// Help is shown below the flags.
func (orgListCommand) Help() string { return "Example:\n  obo org list" }

func (c orgListCommand) Run(ctx context.Context, a *app) error {
	return a.onServer(ctx, "cannot list the orgs", func(ctx context.Context, s *remote.STS) error {
		orgs, err := every(c.listFlags, func(size int32, token string) ([]string, string, error) {
			page, err := s.Admin.ListOrgs(ctx, &obov1.ListOrgsRequest{PageSize: size, PageToken: token})
			return page.GetOrgIds(), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		return a.Print(&obov1.ListOrgsResponse{OrgIds: orgs}, func() {
			if len(orgs) > 0 {
				a.Printf("%s\n", strings.Join(orgs, "\n"))
			}
		})
	})
}

type orgShowCommand struct {
	Name string `arg:"" optional:"" help:"The org; OBO_ORG when absent."`
}

// Help is shown below the flags.
func (orgShowCommand) Help() string { return "Example:\n  obo org show acme | jq .document.agents" }

func (c orgShowCommand) Run(ctx context.Context, a *app) error {
	if c.Name == "" {
		var err error
		if c.Name, err = a.org(); err != nil {
			return err
		}
	}
	a.DefaultOrg = c.Name // whose login it is
	return a.asOperator(ctx, "cannot show the org", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: c.Name})
		if err != nil {
			return err
		}
		if resp.GetVersion() == 0 {
			return &explain.Problem{What: "there is no org " + c.Name, Code: explain.Failed, Do: "obo org list shows those that there are"}
		}
		return a.printDocument(resp)
	})
}
