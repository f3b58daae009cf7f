package main

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

type auditCommand struct {
	List auditListCommand `cmd:"" help:"List records of an org, oldest first."`
	Tail auditTailCommand `cmd:"" help:"Show records as they are made, until Ctrl-C."`
	Show auditShowCommand `cmd:"" help:"Show everything about one action, or one whole transaction."`
}

// trail is one server's trail.
type trail struct {
	server string
	client obov1.AuditServiceClient
	token  telemetry.Secret // the operator's for this server
}

// trails opens the trails of both servers, or of the one that is meant.
func (a *app) trails(only string) (out []trail, done func(), err error) {
	var closers []io.Closer
	done = func() {
		for _, c := range closers {
			_ = c.Close()
		}
	}
	if only != "executor" {
		sts, err := a.sts()
		if err != nil {
			return nil, done, err
		}
		closers = append(closers, sts.Conn)
		token, err := a.operatorToken()
		if err != nil {
			return nil, done, err
		}
		out = append(out, trail{"sts", sts.Audit, token})
	}
	if only != "sts" {
		executor, err := a.executor()
		if err != nil {
			return nil, done, err
		}
		closers = append(closers, executor.Conn)
		token, err := a.executorToken()
		if err != nil {
			return nil, done, err
		}
		out = append(out, trail{"executor", executor.Audit, token})
	}
	return out, done, nil
}

// records reads pages until there are n records, or no more; 0 means all.
func (t trail) records(ctx context.Context, org, action string, after uint64, n int) ([]*obov1.AuditRecord, error) {
	const page = 1000
	ctx = remote.Bearer(ctx, t.token)
	var out []*obov1.AuditRecord
	for {
		size := page
		if n > 0 {
			size = min(page, n-len(out))
		}
		resp, err := t.client.ListRecords(ctx,
			&obov1.ListRecordsRequest{OrgId: org, ActionId: action, After: after, PageSize: int32(size)})
		if err != nil {
			return nil, explain.Of("cannot read the trail of the "+t.server, err)
		}
		out = append(out, resp.GetRecords()...)
		after = resp.GetNext()
		if after == 0 || n > 0 && len(out) >= n {
			return out, nil
		}
	}
}

// merged reads from the trails and puts them into one story.
func (a *app) merged(ctx context.Context, only, action string, after uint64, n int) ([]render.Entry, error) {
	org, err := a.org()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	trails, done, err := a.trails(only)
	defer done()
	if err != nil {
		return nil, err
	}
	of := map[string][]*obov1.AuditRecord{}
	for _, t := range trails {
		if of[t.server], err = t.records(ctx, org, action, after, n); err != nil {
			return nil, err
		}
	}
	return render.Merge(of["sts"], of["executor"]), nil
}

type auditListCommand struct {
	Server string `enum:"both,sts,executor" default:"both" help:"both, sts or executor."`
	After  uint64 `placeholder:"N" help:"Only records after this sequence number; each server has its own numbers."`
	Limit  int    `default:"100" help:"The first so many of each server, from --after on; 0 for all."`
}

// Help is shown below the flags.
func (auditListCommand) Help() string {
	return `Examples:
  obo audit list --org acme
  obo audit list --server sts --after 120 --limit 20 -o json`
}

func (c auditListCommand) Run(ctx context.Context, a *app) error {
	if c.After > 0 && c.Server == "both" {
		return explain.Misuse("--after needs --server", "the servers number their records separately",
			"add --server sts or --server executor")
	}
	entries, err := a.merged(ctx, c.Server, "", c.After, c.Limit)
	if err != nil {
		return err
	}
	return a.Print(render.EntryViews(entries), func() {
		for _, e := range entries {
			a.Entry("", e)
		}
		if len(entries) == 0 {
			a.Printf("no records of org %s\n", render.Clean(a.DefaultOrg))
		}
	})
}

type auditShowCommand struct {
	Action string `arg:"" help:"The action id that a response or an error carried; or a transaction (txn), for its whole tree."`
}

// Help is shown below the flags.
func (auditShowCommand) Help() string {
	return `Merges what the token server and the executor recorded.

Examples:
  obo audit show 0198c2f0-....0198c2f1-...
  obo audit show 0198c2f0-... -o json`
}

func (c auditShowCommand) Run(ctx context.Context, a *app) error {
	entries, err := a.merged(ctx, "both", c.Action, 0, 0)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return &explain.Problem{What: "no record of " + render.Clean(c.Action), Code: explain.Failed,
			Why: "neither server has recorded such an action in this org",
			Do:  "check the id and --org; obo audit list shows what there is"}
	}
	return a.Print(render.EntryViews(entries), func() {
		if subject := entries[0].Record.GetSubject(); subject != "" { // an operator's change is on nobody's behalf
			a.Tree("", subject, longest(entries))
		}
		for _, e := range entries {
			a.Entry("", e)
		}
	})
}

// longest is the longest chain that there was in a story; of nothing but refusals, the longest that was asked for.
func longest(entries []render.Entry) []string {
	var chain, asked []string
	for _, e := range entries {
		c := e.Record.GetChain()
		if len(c) > len(asked) {
			asked = c
		}
		if e.Record.GetOutcome() != audit.OutcomeRefused && len(c) > len(chain) {
			chain = c
		}
	}
	if chain == nil {
		return asked
	}
	return chain
}

type auditTailCommand struct {
	Server string `enum:"both,sts,executor" default:"both" help:"both, sts or executor."`
}

// Help is shown below the flags.
func (auditTailCommand) Help() string {
	return `Examples:
  obo audit tail --org acme
  obo audit tail -o json | jq 'select(.record.outcome == "refused")'`
}

func (c auditTailCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	trails, done, err := a.trails(c.Server)
	defer done()
	if err != nil {
		return err
	}
	var print sync.Mutex
	ended := make(chan error, len(trails))
	for _, t := range trails {
		go func() {
			ended <- t.tail(ctx, org, func(e render.Entry) error {
				print.Lock()
				defer print.Unlock()
				return a.Line(render.EntryView(e), func() { a.Entry("", e) })
			})
		}()
	}
	for range trails {
		if e := <-ended; e != nil && err == nil {
			err = e
			cancel()
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how a tail ends
	}
	return err
}

// tail hands on each new record until the stream ends.
func (t trail) tail(ctx context.Context, org string, each func(render.Entry) error) error {
	stream, err := t.client.TailRecords(remote.Bearer(ctx, t.token), &obov1.TailRecordsRequest{OrgId: org})
	if err != nil {
		return t.ended(ctx, err)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return t.ended(ctx, err)
		}
		if err := each(render.Entry{Server: t.server, Record: resp.GetRecord()}); err != nil {
			return err
		}
	}
}

func (t trail) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return explain.Of("the trail of the "+t.server+" ended", err)
}
