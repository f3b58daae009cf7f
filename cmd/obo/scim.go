package main

import (
	"context"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type scimCommand struct {
	Token scimTokenCommand `cmd:"" help:"Make a token for the identity provider; it is shown once."`
}

// Help is shown below the flags.
func (scimCommand) Help() string { return "Example:\n  obo scim token acme > scim.token" }

type scimTokenCommand struct {
	Org          string `arg:"" help:"The org. Its document must have a directory."`
	DropPrevious bool   `help:"Only the new one works from now on: after a leak."`
}

// Help is shown below the flags.
func (scimTokenCommand) Help() string {
	return `The identity provider presents it as a bearer token at {issuer}/scim/v2. The token before stays valid until the next call, so
that it can be replaced without an outage.

Examples:
  obo scim token acme > scim.token
  obo scim token acme --drop-previous`
}

func (c scimTokenCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org // whose login it is
	return a.asOperator(ctx, "cannot make a SCIM token for "+c.Org, func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.RotateScimToken(ctx, &obov1.RotateScimTokenRequest{OrgId: c.Org, DropPrevious: c.DropPrevious})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.Printf("%s\n", resp.GetToken()) })
	})
}
