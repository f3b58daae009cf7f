package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type connectWatchCommand struct {
	After *uint64 `placeholder:"N" help:"Begin with the events after this number, 0 for all that are kept. Default: from now on."`
}

// Help is shown below the flags.
func (connectWatchCommand) Help() string {
	return `Each event has a number, 1 more than that of the org's event before. To miss none, go on with --after and the number of the last one that
you have seen; docs/EVENTS.md says for how long that works.

Examples:
  obo connect watch --org acme
  obo connect watch --after 0 -o json | jq 'select(.newStatus == "revoked")'`
}

func (c connectWatchCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	e, err := a.executor()
	if err != nil {
		return err
	}
	defer e.Conn.Close()
	token, err := a.executorToken()
	if err != nil {
		return err
	}
	stream, err := e.Admin.WatchConnections(remote.Bearer(ctx, token), &obov1.WatchConnectionsRequest{OrgId: org, After: c.After})
	if err != nil {
		return watchEnded(ctx, err)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return watchEnded(ctx, err)
		}
		event := resp.GetEvent()
		if err := a.Line(render.Proto(event), func() { a.showEvent(event) }); err != nil {
			return err
		}
	}
}

// watchEnded is nil for Ctrl-C, which is how a watch ends.
func watchEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return explain.Of("the watch ended", err)
}

func (a *app) showEvent(e *obov1.ConnectionEvent) {
	a.Printf("%d  %s  %s  %s  %s -> %s", e.GetSequence(), when(e.GetTime()), render.Clean(e.GetConnection()),
		render.Clean(cmp.Or(e.GetSubject(), "(the whole org)")), cmp.Or(e.GetOldStatus(), "(new)"), cmp.Or(e.GetNewStatus(), "(deleted)"))
	if e.GetReason() != "" {
		a.Printf("  %s", render.Clean(e.GetReason()))
	}
	a.Printf("\n")
}
