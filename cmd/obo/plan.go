package main

import (
	"slices"

	"github.com/onbehalf/obo/cmd/obo/internal/orgdir"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
)

// inForce is what a plan is made from.
type inForce struct {
	document  []byte // the token server's
	version   int64  // of it; 0: the org does not exist
	providers []*obov1.ProviderFile
	etag      string // of them
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

// makePlan compares an org's files with what is in force. Without prune, what is in force and not in the files is added to org.
func makePlan(now inForce, org *orgdir.Org, prune bool) (p plan, err error) {
	p = plan{Org: string(org.ID), Version: now.version, Changes: []*change{}, Providers: []*providerChange{}, Kept: []string{}}
	if !prune {
		var kept []string
		org.Providers, kept = orgdir.KeepProviders(now.providers, org.Providers)
		p.Kept = append(p.Kept, kept...)
		if org.Document, kept, err = orgdir.Keep(now.document, org.Document); err != nil {
			return p, err
		}
		p.Kept = append(p.Kept, kept...)
	}
	// The very compiler of the token server, so that a bad policy is found without asking it.
	config := store.OrgConfig{Org: org.ID, Version: 1, Document: org.Document}
	if _, err := registry.Compile(config, store.OrgConfig{}, nil); err != nil {
		return p, err
	}
	p.Providers = compareProviders(now.providers, org.Providers)
	changes, err := now.compare(org.Document)
	for _, c := range changes {
		p.Changes = append(p.Changes, &change{Path: c.Path, Kind: c.Kind, Before: c.Before, After: c.After})
	}
	return p, err
}

// compare is the difference of what is in force to another document, by the code by which the token server finds it.
func (now inForce) compare(document []byte) ([]registry.Change, error) {
	before := registry.Document{}
	if now.version > 0 {
		var err error
		if before, err = registry.Parse(now.document); err != nil {
			return nil, err
		}
	}
	after, err := registry.Parse(document)
	if err != nil {
		return nil, err
	}
	return registry.Diff(before, after), nil
}

// has reports whether a document is the one in force.
func (now inForce) has(document []byte) bool {
	changes, err := now.compare(document)
	return err == nil && len(changes) == 0
}

// since are the paths of what is not as it was, at most ten of them.
func (now inForce) since(then inForce) (paths []string) {
	if then.version > 0 && then.version != now.version {
		changes, err := now.compare(then.document)
		if err != nil {
			return nil
		}
		for _, c := range changes {
			paths = append(paths, render.Clean(c.Path))
		}
	}
	for _, c := range compareProviders(now.providers, then.providers) {
		paths = append(paths, "providers/"+render.Clean(c.Name))
	}
	const most = 10
	if len(paths) > most {
		paths = append(paths[:most], "and more")
	}
	return paths
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

// dryRunFlag is that of a command that changes something.
type dryRunFlag struct {
	DryRun bool `help:"Check everything, say what would change, and change nothing."`
}

// showChanges shows what changed, or would.
func (a *app) showChanges(changes []*obov1.Change) {
	p := plan{}
	for _, c := range changes {
		p.Changes = append(p.Changes, &change{Path: c.GetPath(), Kind: c.GetKind(), Before: c.GetBefore(), After: c.GetAfter()})
	}
	a.showPlan(p)
}

// did says what was done or, of a dry run, would be.
func did(dry bool, done, would string) string {
	if dry {
		return would
	}
	return done
}
