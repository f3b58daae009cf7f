package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/orgdir"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type applyCommand struct {
	File  string `short:"f" required:"" placeholder:"DIR" help:"Directory with org.yaml, policies/*.cedar and providers/*.yaml."`
	Prune bool   `help:"Also remove what is in force and not in the files."`
	Yes   bool   `short:"y" help:"Carry the plan out without asking."`
}

// Help is shown below the flags.
func (applyCommand) Help() string {
	return `Shows the plan, and carries it out when you say so: at a terminal it asks, elsewhere it wants --yes. Everything is checked before
anything changes: here, then by both servers. What was shown is what is done: when anybody changed the org since, nothing is.

The executor's providers go first, since policy speaks of their tools. When the token server then does not take its part, the providers
are put back as they were; when that fails too, the command says what stands where, and a second run completes it. A second time
there is nothing to do.

What is in force and not in the files stays, and the plan lists it, unless --prune. (administrators are always those of the files.)
${env:NAME} in a YAML file stands for an environment variable.

Examples:
  obo apply -f orgs/acme
  obo apply -f orgs/acme --yes --prune
  obo diff -f orgs/acme --exit-code || obo apply -f orgs/acme --yes`
}

type diffCommand struct {
	File     string `short:"f" required:"" placeholder:"DIR" help:"Directory with org.yaml, policies/*.cedar and providers/*.yaml."`
	Prune    bool   `help:"As apply --prune would."`
	ExitCode bool   `help:"Exit with 6 when there is a difference."`
}

// Help is shown below the flags.
func (diffCommand) Help() string {
	return `Nothing is changed. The files are checked here, policies against their schema; the servers are asked no more than what is in force, so
whoever may read the org may run it. What depends on the other orgs, or on the operator, apply finds out.

Examples:
  obo diff -f orgs/acme
  obo diff -f orgs/acme --exit-code -o json`
}

func (c applyCommand) Run(ctx context.Context, a *app) error {
	org, now, p, err := a.plan(ctx, c.File, c.Prune)
	if err != nil {
		return err
	}
	if !p.empty() {
		if err := a.rehearse(ctx, org, now, &p); err != nil {
			return err
		}
		a.onStderr().showPlan(p)
		if !c.Yes && !a.confirm("carry this out?") {
			return explain.Misuse("nothing was changed", "the plan was not confirmed", "say yes at a terminal, or give --yes")
		}
		if err := a.carryOut(ctx, org, now, &p); err != nil {
			return err
		}
	}
	return a.Print(p, func() {
		if p.empty() {
			a.Printf("nothing to do: %s is as the files say (version %d)\n", p.Org, p.Version)
			return
		}
		a.Printf("%s %s, version %d\n", a.Green("applied"), p.Org, p.Version)
	})
}

func (c diffCommand) Run(ctx context.Context, a *app) error {
	_, _, p, err := a.plan(ctx, c.File, c.Prune)
	if err != nil {
		return err
	}
	if err := a.Print(p, func() {
		a.showPlan(p)
		if p.empty() {
			a.Printf("no difference (version %d)\n", p.Version)
		}
	}); err != nil {
		return err
	}
	if c.ExitCode && !p.empty() {
		return &explain.Problem{Code: explain.Differs}
	}
	return nil
}

// plan reads a directory and what is in force, and compares the two.
func (a *app) plan(ctx context.Context, dir string, prune bool) (orgdir.Org, inForce, plan, error) {
	org, err := orgdir.Read(dir, a.env)
	if err != nil {
		return org, inForce{}, plan{}, explain.Failure("cannot use the files in "+dir, err, "correct them; nothing was changed")
	}
	now, err := a.inForce(ctx, string(org.ID))
	if err != nil {
		return org, now, plan{}, err
	}
	p, err := makePlan(now, &org, prune)
	if err != nil {
		err = explain.Failure("cannot compare "+dir+" with what is in force", err, "correct the files; nothing was changed")
	}
	return org, now, p, err
}

// confirm asks whoever sits at the terminal. Where nobody does, the answer is no.
func (a *app) confirm(question string) bool {
	if !a.terminal {
		return false
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	line = strings.ToLower(strings.TrimSpace(line))
	return err == nil && (line == "y" || line == "yes")
}

// inForce reads what both servers have of an org.
func (a *app) inForce(ctx context.Context, org string) (now inForce, err error) {
	a.DefaultOrg = org // whose login it is
	err = a.asExecutorOperator(ctx, "cannot read the provider records", func(ctx context.Context, e *remote.Executor) error {
		got, err := e.Admin.GetProviders(ctx, &obov1.GetProvidersRequest{OrgId: org})
		now.providers, now.etag = got.GetProviders(), got.GetEtag()
		return err
	})
	if err != nil {
		return now, err
	}
	err = a.asOperator(ctx, "cannot read the configuration", func(ctx context.Context, s *remote.STS) error {
		got, err := s.Admin.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: org})
		now.document, now.version = got.GetDocument(), got.GetVersion()
		return err
	})
	return now, err
}

// rehearse lets both servers check the plan, made of the very versions that it was made from. What the token server says would
// change is what is shown.
func (a *app) rehearse(ctx context.Context, org orgdir.Org, now inForce, p *plan) error {
	if len(p.Providers) > 0 { // who may change policies alone is not asked for more
		if _, err := a.applyProviders(ctx, p.Org, now.etag, org.Providers, true); err != nil {
			return a.stale(ctx, now, p.Org, err)
		}
	}
	resp, err := a.applyOrg(ctx, org, now.version, true)
	if err != nil {
		return a.stale(ctx, now, p.Org, err)
	}
	p.Changes = []*change{}
	for _, c := range resp.GetChanges() {
		p.Changes = append(p.Changes, &change{Path: c.GetPath(), Kind: c.GetKind(), Before: c.GetBefore(), After: c.GetAfter()})
	}
	return nil
}

// carryOut does what was shown, or nothing. The two servers have a database each, so there is no one transaction: the executor
// goes first, since a tool that no policy permits yet harms nobody, and is put back when the token server does not follow.
func (a *app) carryOut(ctx context.Context, org orgdir.Org, now inForce, p *plan) error {
	applied := ""
	if len(p.Providers) > 0 { // what changes nothing is not to be on the trail
		resp, err := a.applyProviders(ctx, p.Org, now.etag, org.Providers, false)
		if err != nil {
			return a.stale(ctx, now, p.Org, err)
		}
		applied = resp.GetEtag()
	}
	resp, err := a.applyOrg(ctx, org, now.version, false)
	if err == nil {
		p.Version, p.Applied = resp.GetVersion(), true
		return nil
	}
	ctx = context.WithoutCancel(ctx) // who interrupts now must not leave half of it
	if !certain(err) {
		then, unread := a.inForce(ctx, p.Org)
		if unread != nil {
			return explain.Of("", err).Instead("it is not known whether the token server applied the configuration",
				"run it again when the server answers: it completes what is missing, and repeats nothing that is done")
		}
		if then.version > now.version && then.has(org.Document) {
			p.Version, p.Applied = then.version, true // and the answer was lost
			return nil
		}
	}
	if applied != "" {
		if _, undo := a.applyProviders(ctx, p.Org, applied, now.providers, false); undo != nil {
			return explain.Of("", err).Instead("the plan is half done: the executor has the provider records of the files, and the token "+
				"server's configuration is as before", "run it again to complete it; the records could not be put back: "+
				explain.Of("", undo).Why)
		}
	}
	return a.stale(ctx, now, p.Org, err)
}

// certain reports whether a server has said that it did nothing.
func certain(err error) bool {
	switch status.Code(err) {
	case codes.Aborted, codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.NotFound,
		codes.FailedPrecondition, codes.ResourceExhausted, codes.Unimplemented:
		return true
	}
	return false
}

// stale says what happened since a plan was made, when that is why it was refused.
func (a *app) stale(ctx context.Context, now inForce, org string, refused error) error {
	if status.Code(refused) != codes.Aborted {
		return refused
	}
	why := "somebody else changed the org at the same moment"
	if then, err := a.inForce(ctx, org); err == nil {
		if paths := now.since(then); len(paths) > 0 {
			why = fmt.Sprintf("since then somebody else changed %s (version %d is in force, and was %d)", strings.Join(paths, ", "),
				then.version, now.version)
		}
	}
	return &explain.Problem{What: "the plan is out of date, and was not carried out", Why: why, Code: explain.Refused,
		Do: "run it again: it shows what would be done now"}
}

func (a *app) applyProviders(ctx context.Context, org, etag string, files []*obov1.ProviderFile, dry bool) (
	resp *obov1.ApplyProvidersResponse, err error) {
	what := "the executor does not take the provider records"
	err = a.asExecutorOperator(ctx, what, func(ctx context.Context, e *remote.Executor) error {
		resp, err = e.Admin.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: org, Providers: files, Etag: etag, DryRun: dry})
		return err
	})
	return resp, err
}

func (a *app) applyOrg(ctx context.Context, org orgdir.Org, version int64, dry bool) (resp *obov1.ApplyOrgResponse, err error) {
	err = a.asOperator(ctx, "the token server does not take the configuration", func(ctx context.Context, s *remote.STS) error {
		resp, err = s.Admin.ApplyOrg(ctx, &obov1.ApplyOrgRequest{
			OrgId: string(org.ID), Document: org.Document, ExpectedVersion: version, DryRun: dry,
		})
		return err
	})
	return resp, err
}
