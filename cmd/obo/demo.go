package main

import (
	"context"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/story"
)

type demoCommand struct {
	Postgres string `placeholder:"DSN" help:"Keep the environment's data on this PostgreSQL server; 'env' reads OBO_TEST_POSTGRES."`
	LogLevel string `enum:"debug,info,warn,error" default:"info" help:"Of the two servers: debug, info, warn or error."`
}

// Help is shown below the flags.
func (demoCommand) Help() string {
	return `Two agents act for alice, everything that must be refused is tried, and one revocation stops it all. It starts its own
environment in a temporary folder, unless OBO_* (or --env) points to one that runs. It checks itself: the exit code is 0 only
if every step turned out as it should.

Examples:
  obo demo
  obo demo --env /tmp/obo-dev/env
  obo demo -o json | jq '.steps[] | select(.ok | not)'`
}

func (c demoCommand) Run(ctx context.Context, a *app) error {
	if a.STS == "" {
		e, err := a.onStderr().startDev(ctx, "", c.Postgres, c.LogLevel)
		if err != nil {
			return err
		}
		defer e.Stop()
		a.adopt(e.Vars)
	}
	w, err := story.NewWorld(a.env)
	if err != nil {
		return err
	}
	defer w.Close()
	report, err := story.Tell(ctx, w, a.Printer)
	if err != nil {
		return err
	}
	if a.JSON {
		if err := a.Print(report, nil); err != nil {
			return err
		}
	}
	if !report.OK {
		return &explain.Problem{What: "the story did not turn out as it should", Why: "the steps marked ✗ failed",
			Code: explain.Failed,
			Do:   "the servers' logs and obo audit list say more (run it against obo dev --state DIR to keep them)"}
	}
	return nil
}
