package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/connection/fakes"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type providersCommand struct {
	List providersListCommand `cmd:"" help:"List the provider records."`
	Show providersShowCommand `cmd:"" help:"Show what a provider record can do."`
	Lint providersLintCommand `cmd:"" help:"Check files of provider records."`
	Test providersTestCommand `cmd:"" help:"Check a record at the live provider, with credentials of yours."`
}

type providersListCommand struct{}

// Help is shown below the flags.
func (providersListCommand) Help() string {
	return `The records that come with this obo, and with --org (or OBO_ORG) also the org's own, which the executor has: those override built-in
ones of the same name. --org "" is without. ROTATION is what a refresh does to the refresh token; REVOCATION is who can end a grant
at the provider: obo, or only the user. UNVERIFIED counts what a record says and nobody has found in the provider's documentation.

Examples:
  obo providers list
  obo providers list --org acme
  obo providers list -o json | jq '.providers[] | select(.revokes) | .name'`
}

type providersShowCommand struct {
	Name string `arg:"" help:"Name of the provider, such as github."`
}

// Help is shown below the flags.
func (providersShowCommand) Help() string {
	return `Patterns, settings, scopes with the provider's own that each needs, tools, and what is unverified. With --org (or OBO_ORG) the org's own
record, if it has one of that name.

Examples:
  obo providers show google
  obo providers show tracker --org acme -o json`
}

type providersLintCommand struct {
	Files []string `arg:"" name:"file" help:"Files to check, as in providers/*.yaml of an org."`
	Fakes string   `placeholder:"FILE" help:"File of answers that the provider gives: the record of that provider is held to them."`
}

// Help is shown below the flags.
func (providersLintCommand) Help() string {
	return `Everything that is wrong is said at once, each thing with its place, and the exit code is then 1. No server is asked. --fakes takes a file
like those of connection/fakes/recorded: each answer must be understood as the file says, and the cases that a record of its
patterns needs must be there, or absent with a reason. Times in the answers are relative to 2026-11-28T12:00:00Z.

Examples:
  obo providers lint orgs/acme/providers/*.yaml
  obo providers lint tracker.yaml --fakes tracker-fakes.yaml
  obo providers lint tracker.yaml -o json`
}

// sourced is a record with where it comes from: builtin, or the name of the org's file.
type sourced struct {
	connection.Summary
	From string `json:"from"`
}

const fromBuiltin = "builtin"

// records are the built-in records, overridden by those of the org, when one is known, in name order.
func (a *app) records(ctx context.Context) ([]sourced, error) {
	var own []*obov1.ProviderFile
	if a.DefaultOrg != "" {
		if err := a.asExecutorOperator(ctx, "cannot read the provider records", func(ctx context.Context, e *remote.Executor) error {
			got, err := e.Admin.GetProviders(ctx, &obov1.GetProvidersRequest{OrgId: a.DefaultOrg})
			own = got.GetProviders()
			return err
		}); err != nil {
			return nil, err
		}
	}
	var out []sourced
	for _, r := range own {
		p, err := connection.ParseProvider(r.GetName(), []byte(r.GetText()))
		if err != nil {
			return nil, explain.Failure("cannot read a provider record of "+a.DefaultOrg, err, "use an obo that is as new as the executor")
		}
		out = append(out, sourced{p.Summary(), r.GetName()})
	}
	for _, p := range connection.Builtin() {
		if !slices.ContainsFunc(out, func(l sourced) bool { return l.Name == p.Name() }) {
			out = append(out, sourced{p.Summary(), fromBuiltin})
		}
	}
	slices.SortFunc(out, func(x, y sourced) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

func (c providersListCommand) Run(ctx context.Context, a *app) error {
	all, err := a.records(ctx)
	if err != nil {
		return err
	}
	return a.Print(map[string]any{"providers": all}, func() {
		rows := [][]string{{"NAME", "TITLE", "PATTERNS", "ROTATION", "REVOCATION", "TOOLS", "UNVERIFIED", "FROM"}}
		for _, p := range all {
			rows = append(rows, []string{p.Name, render.Clean(p.Title), patterns(p.Summary), cmp.Or(string(p.Rotation), "-"), revocation(p.Summary),
				fmt.Sprint(len(p.Tools)), fmt.Sprint(len(p.Unverified)), render.Clean(p.From)})
		}
		a.Table(rows)
	})
}

func (c providersShowCommand) Run(ctx context.Context, a *app) error {
	all, err := a.records(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(p sourced) bool { return p.Name == c.Name })
	if i < 0 {
		return &explain.Problem{What: "there is no provider " + render.Clean(c.Name), Code: explain.Failed, Do: "obo providers list shows those that there are"}
	}
	return a.Print(all[i], func() { a.showProvider(all[i]) })
}

func (a *app) showProvider(p sourced) {
	a.Printf("%s  %s\n", a.Bold(p.Name), render.Clean(p.Title))
	for _, line := range [][2]string{
		{"", p.Description}, {"from", p.From}, {"base URL", p.BaseURL}, {"hosts", strings.Join(p.Hosts, ", ")},
		{"patterns", patterns(p.Summary)}, {"rotation", string(p.Rotation)}, {"revocation", revocation(p.Summary)}, {"", p.NoRevoke},
		{"documentation", p.Docs}, {"register at", p.Registration},
	} {
		if line[1] != "" && line[1] != "-" {
			a.Printf("  %-14s %s\n", line[0], render.Clean(line[1]))
		}
	}
	section := func(title string, rows [][]string) {
		if len(rows) > 0 {
			a.Printf("\n%s\n", a.Bold(title))
			a.Table(rows)
		}
	}
	var settings, scopes, tools, unverified [][]string
	for _, s := range p.Settings {
		settings = append(settings, []string{"  " + s.Name, s.From, render.Clean(s.Description)})
	}
	for _, s := range p.Scopes {
		scopes = append(scopes, []string{"  " + s.Name, render.Clean(s.Allows), strings.Join(s.Needs, " ")})
	}
	for _, t := range p.Tools {
		tools = append(tools, []string{"  " + t.Name, string(t.Risk), render.Clean(t.Description)})
	}
	for _, u := range p.Unverified {
		unverified = append(unverified, []string{"  " + render.Clean(u)})
	}
	section("settings", settings)
	section("scopes", scopes)
	section("tools", tools)
	section("unverified", unverified)
}

func patterns(p connection.Summary) string {
	out := make([]string, len(p.Patterns))
	for i, pattern := range p.Patterns {
		out[i] = string(pattern)
	}
	return strings.Join(out, " ")
}

// revocation is who can end a grant at the provider.
func revocation(p connection.Summary) string {
	switch {
	case p.Rotation == "":
		return "-"
	case p.Revokes:
		return "obo"
	}
	return "the user"
}

// linted is what was found in one file.
type linted struct {
	File     string   `json:"file"`
	Provider string   `json:"provider,omitempty"`
	Valid    bool     `json:"valid"`
	Problems []string `json:"problems"`
}

func (c providersLintCommand) Run(_ context.Context, a *app) error {
	var files []linted
	records := map[string]connection.Provider{}
	for _, file := range c.Files {
		found := linted{File: file, Problems: []string{}}
		p, wrong := readRecord(file)
		found.Problems = append(found.Problems, wrong...)
		if len(wrong) == 0 {
			found.Provider = p.Name()
			if _, twice := records[p.Name()]; twice {
				found.Problems = append(found.Problems, "name: is that of a record in a file before")
			}
			records[p.Name()] = p
		}
		files = append(files, found)
	}
	if c.Fakes != "" {
		files = append(files, lintFakes(c.Fakes, records))
	}
	bad := 0
	for i := range files {
		if files[i].Valid = len(files[i].Problems) == 0; !files[i].Valid {
			bad++
		}
	}
	if err := a.Print(map[string]any{"files": files}, func() {
		for _, f := range files {
			if f.Valid {
				a.Printf("%s %s\n", a.Green("good"), render.Clean(f.File))
			}
			for _, w := range f.Problems {
				a.Printf("%s %s: %s\n", a.Red("bad "), render.Clean(f.File), render.Clean(w))
			}
		}
	}); err != nil || bad == 0 {
		return err
	}
	return &explain.Problem{What: fmt.Sprintf("%d of %d files cannot be used", bad, len(files)), Code: explain.Failed,
		Why: "standard output says what is wrong in each", Do: "docs/PROVIDERS.md has every field of a record"}
}

// readRecord reads a record, and says all that is wrong with it.
func readRecord(file string) (connection.Provider, []string) {
	text, err := readText(file)
	if err != nil {
		return connection.Provider{}, []string{err.Error()}
	}
	return connection.CheckRecord(text)
}

// lintFakes holds the record that a file of fakes is for to it.
func lintFakes(file string, records map[string]connection.Provider) linted {
	out := linted{File: file, Problems: []string{}}
	text, err := readText(file)
	if err != nil {
		out.Problems = append(out.Problems, err.Error())
		return out
	}
	f, err := fakes.Parse(text)
	if err != nil {
		out.Problems = append(out.Problems, strings.Join(strings.Fields(err.Error()), " "))
		return out
	}
	out.Provider = f.Provider
	p, ok := records[f.Provider]
	if !ok {
		out.Problems = append(out.Problems, fmt.Sprintf("provider: none of the files has a good record of %q", f.Provider))
		return out
	}
	out.Problems = append(out.Problems, f.Check(p)...)
	return out
}

// readText reads a file that a person wrote: none such is longer.
func readText(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, fmt.Errorf("cannot be read: %w", err)
	case !info.Mode().IsRegular() || info.Size() > 1<<20:
		return nil, errors.New("is no regular file of at most 1 MiB")
	}
	return os.ReadFile(file)
}
