package main

import (
	"cmp"
	"context"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type connectThemeCommand struct {
	Set  themeSetCommand  `cmd:"" help:"Give the org's pages a name and a color."`
	Show themeShowCommand `cmd:"" help:"Show them."`
}

// Help is shown below the flags.
func (connectThemeCommand) Help() string {
	return `Example:
  obo connect theme set --name "Acme, Inc." --accent "#7a1f3d"`
}

type themeSetCommand struct {
	dryRunFlag
	versionFlag
	Name   string `placeholder:"TEXT" help:"What people call the org. Default: its id."`
	Accent string `placeholder:"#RRGGBB" help:"The color of what can be pressed, where pages are light; dark enough to be read on white. Default: ours."`
}

// Help is shown below the flags.
func (themeSetCommand) Help() string {
	return `Examples:
  obo connect theme set --name "Acme, Inc." --accent "#7a1f3d"
  obo connect theme set`
}

func (c themeSetCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot change the pages", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.PutTheme(ctx, &obov1.PutThemeRequest{
			OrgId: org, Name: c.Name, Accent: c.Accent, ExpectedVersion: c.ExpectedVersion, DryRun: c.DryRun,
		})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showTheme(resp.GetTheme()) })
	})
}

type themeShowCommand struct{}

// Help is shown below the flags.
func (themeShowCommand) Help() string { return "Example:\n  obo connect theme show --org acme" }

func (themeShowCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot show the pages' theme", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.GetTheme(ctx, &obov1.GetThemeRequest{OrgId: org})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showTheme(resp.GetTheme()) })
	})
}

func (a *app) showTheme(t *obov1.Theme) {
	a.Printf("name %s, accent %s\n", render.Clean(cmp.Or(t.GetName(), "(the org's id)")), cmp.Or(t.GetAccent(), "(ours)"))
}
