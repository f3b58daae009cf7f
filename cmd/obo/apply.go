package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/orgdir"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
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
anything changes: here, then by both servers. The token server takes the whole or nothing, and only if nobody changed the org since
the plan was made; the executor's providers go first, since policy speaks of their tools. A second time there is nothing to do.

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
	return `Nothing is changed.

Examples:
  obo diff -f orgs/acme
  obo diff -f orgs/acme --exit-code -o json`
}

// plan is what apply did or would do.
type plan struct {
	Org       string            `json:"org_id"`
	Version   int64             `json:"version"` // of the org's configuration in force
	Applied   bool              `json:"applied"`
	Changes   []*change         `json:"changes"`   // the token server's
	Providers []*providerChange `json:"providers"` // the executor's
	Kept      []string          `json:"kept"`      // in force, and not in the files
}

type change struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

type providerChange struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

func (p plan) empty() bool { return len(p.Changes) == 0 && len(p.Providers) == 0 }

func (c applyCommand) Run(ctx context.Context, a *app) error {
	org, err := a.readOrg(c.File)
	if err != nil {
		return err
	}
	p, version, err := a.plan(ctx, &org, c.Prune)
	if err != nil {
		return err
	}
	if !p.empty() {
		a.onStderr().showPlan(p)
		if !c.Yes && !a.confirm("carry this out?") {
			return explain.Misuse("nothing was changed", "the plan was not confirmed", "say yes at a terminal, or give --yes")
		}
		if err := a.apply(ctx, org, &p, version); err != nil {
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
	org, err := a.readOrg(c.File)
	if err != nil {
		return err
	}
	p, _, err := a.plan(ctx, &org, c.Prune)
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

func (a *app) readOrg(dir string) (orgdir.Org, error) {
	org, err := orgdir.Read(dir, a.env)
	if err != nil {
		return org, explain.Failure("cannot use the files in "+dir, err, "correct them; nothing was changed")
	}
	return org, nil
}

// confirm asks whoever sits at the terminal. Where nobody does, the answer is no.
func (a *app) confirm(question string) bool {
	f, ok := a.in.(*os.File)
	if !ok {
		return false
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(f).ReadString('\n')
	line = strings.ToLower(strings.TrimSpace(line))
	return err == nil && (line == "y" || line == "yes")
}

// plan asks both servers what would change. version is that of the org in force. Without prune, what is in force and not in the
// files is added to org.
func (a *app) plan(ctx context.Context, org *orgdir.Org, prune bool) (plan, int64, error) {
	p := plan{Org: string(org.ID), Changes: []*change{}, Providers: []*providerChange{}, Kept: []string{}}
	a.DefaultOrg = p.Org // whose login it is
	refused := "the executor does not take the provider records"
	err := a.asExecutorOperator(ctx, refused, func(ctx context.Context, e *remote.Executor) error {
		now, err := e.Admin.GetProviders(ctx, &obov1.GetProvidersRequest{OrgId: p.Org})
		if err != nil {
			return err
		}
		if !prune {
			var kept []string
			org.Providers, kept = orgdir.KeepProviders(now.GetProviders(), org.Providers)
			p.Kept = append(p.Kept, kept...)
		}
		p.Providers = compareProviders(now.GetProviders(), org.Providers)
		if len(p.Providers) == 0 {
			return nil // who may change policies alone is not asked for more
		}
		_, err = e.Admin.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: p.Org, Providers: org.Providers, DryRun: true})
		return err
	})
	if err != nil {
		return p, 0, err
	}
	var version int64
	refused = "the token server does not take the configuration"
	err = a.asOperator(ctx, refused, func(ctx context.Context, s *remote.STS) error {
		now, err := s.Admin.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: p.Org})
		if err != nil {
			return err
		}
		version = now.GetVersion()
		if !prune {
			var kept []string
			if org.Document, kept, err = orgdir.Keep(now.GetDocument(), org.Document); err != nil {
				return err
			}
			p.Kept = append(p.Kept, kept...)
		}
		resp, err := s.Admin.ApplyOrg(ctx,
			&obov1.ApplyOrgRequest{OrgId: p.Org, Document: org.Document, ExpectedVersion: version, DryRun: true})
		if err != nil {
			return err
		}
		p.Version = version
		for _, c := range resp.GetChanges() {
			p.Changes = append(p.Changes, &change{Path: c.GetPath(), Kind: c.GetKind(), Before: c.GetBefore(), After: c.GetAfter()})
		}
		return nil
	})
	return p, version, err
}

// compareProviders says which of an org's own provider records differ, by name.
func compareProviders(now, want []*obov1.ProviderFile) []*providerChange {
	out := []*providerChange{}
	text := func(files []*obov1.ProviderFile, name string) (string, bool) {
		i := slices.IndexFunc(files, func(f *obov1.ProviderFile) bool { return f.GetName() == name })
		if i < 0 {
			return "", false
		}
		return files[i].GetText(), true
	}
	for _, f := range want {
		before, ok := text(now, f.GetName())
		switch {
		case !ok:
			out = append(out, &providerChange{f.GetName(), "add"})
		case before != f.GetText():
			out = append(out, &providerChange{f.GetName(), "change"})
		}
	}
	for _, f := range now {
		if _, ok := text(want, f.GetName()); !ok {
			out = append(out, &providerChange{f.GetName(), "remove"})
		}
	}
	return out
}

func (a *app) apply(ctx context.Context, org orgdir.Org, p *plan, version int64) error {
	if len(p.Providers) > 0 { // what changes nothing is not to be on the trail
		refused := "the executor did not apply the provider records"
		err := a.asExecutorOperator(ctx, refused, func(ctx context.Context, e *remote.Executor) error {
			_, err := e.Admin.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: p.Org, Providers: org.Providers})
			return err
		})
		if err != nil {
			return err
		}
	}
	err := a.asOperator(ctx, "the token server did not apply the configuration", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.ApplyOrg(ctx,
			&obov1.ApplyOrgRequest{OrgId: p.Org, Document: org.Document, ExpectedVersion: version})
		p.Version = resp.GetVersion()
		return err
	})
	p.Applied = err == nil
	return err
}

func (a *app) showPlan(p plan) {
	sign := map[string]string{"add": a.Green("+"), "change": a.Yellow("~"), "remove": a.Red("-")}
	for _, path := range p.Kept {
		a.Printf("%s %s %s\n", a.Dim("="), render.Clean(path), a.Dim("(in force, not in the files; --prune removes it)"))
	}
	for _, c := range p.Providers {
		a.Printf("%s providers/%s\n", sign[c.Kind], render.Clean(c.Name))
	}
	for _, c := range p.Changes {
		a.Printf("%s %s\n", sign[c.Kind], render.Clean(c.Path))
		for _, v := range []struct{ mark, value string }{{"  - ", c.Before}, {"  + ", c.After}} {
			if v.value != "" {
				a.Printf("%s%s\n", a.Dim(v.mark), shorten(render.Clean(v.value)))
			}
		}
	}
}

// shorten keeps a long value on one line.
func shorten(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + " ..."
	}
	return s
}

type platformCommand struct {
	Apply platformApplyCommand `cmd:"" help:"Replace the operator's policies."`
}

type platformApplyCommand struct {
	File string `short:"f" required:"" placeholder:"DIR" help:"Directory with *.cedar files."`
}

// Help is shown below the flags.
func (platformApplyCommand) Help() string {
	return `They are evaluated with those of every org, and no org can remove them. The set is replaced whole.

Example:
  obo platform apply -f guardrails`
}

func (c platformApplyCommand) Run(ctx context.Context, a *app) error {
	files, err := orgdir.ReadPolicies(c.File)
	if err != nil {
		return explain.Failure("cannot read the policies", err, "name a directory with *.cedar files")
	}
	if len(files) == 0 {
		return explain.Failure(c.File+" has no *.cedar file", nil, "an empty set would lift every guardrail; put at least one file there")
	}
	req := &obov1.ApplyPlatformRequest{}
	for _, f := range files {
		req.Policies = append(req.Policies, &obov1.PolicyFile{Name: f.Name, Text: f.Text})
	}
	return a.asOperator(ctx, "the token server does not take the policies", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.ApplyPlatform(ctx, req)
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.Printf("%s, version %d\n", a.Green("applied"), resp.GetVersion()) })
	})
}

type orgCommand struct {
	List orgListCommand `cmd:"" help:"List the orgs."`
	Show orgShowCommand `cmd:"" help:"Show an org's configuration as JSON."`
}

type orgListCommand struct{ listFlags }

// Help is shown below the flags.
func (orgListCommand) Help() string { return "Example:\n  obo org list" }

func (c orgListCommand) Run(ctx context.Context, a *app) error {
	return a.asOperator(ctx, "cannot list the orgs", func(ctx context.Context, s *remote.STS) error {
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
