package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/connection"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

func TestProvidersAreListedWithoutAServer(t *testing.T) {
	t.Parallel()
	got := obo(t, nil, "", "providers", "list", "--output", "json")
	var doc struct{ Providers []sourced }
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != 0 || len(doc.Providers) != len(connection.Builtin()) {
		t.Fatalf("exit %d, %v\n%s%s", got.code, err, got.out, got.err)
	}
	for _, p := range doc.Providers {
		if p.From != fromBuiltin || len(p.Patterns) == 0 || len(p.Tools) == 0 {
			t.Errorf("%+v", p)
		}
	}
	if got := obo(t, nil, "", "providers", "list"); !strings.Contains(got.out, "\ngoogle ") || !strings.HasPrefix(got.out, "NAME ") {
		t.Errorf("%s", got.out)
	}
	got = obo(t, nil, "", "providers", "show", "google")
	for _, want := range []string{"google.list_events", "calendar.readonly", "delegate", "never", "obo", "The address of the userinfo endpoint"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s", want, got.out)
		}
	}
	if got := obo(t, nil, "", "providers", "show", "nobody"); got.code != explain.Failed || !strings.Contains(got.err, "obo providers list") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

// TestProvidersOfAnOrg: its own come beside the built-in ones, and instead of one of the same name.
func TestProvidersOfAnOrg(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.DefaultOrg = "acme"
	d.providers = []*obov1.ProviderFile{
		{Name: "notes.yaml", Text: notesRecord},
		{Name: "ours.yaml", Text: strings.NewReplacer("name: notes", "name: github\ntitle: \"Ours\\e[2J\"", "notes:", "github:").Replace(notesRecord)},
	}
	all, err := d.records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	for _, p := range all {
		from[p.Name] = p.From
	}
	if len(all) != len(connection.Builtin())+1 || from["notes"] != "notes.yaml" || from["github"] != "ours.yaml" || from["google"] != fromBuiltin {
		t.Errorf("%v", from)
	}
	if err := (providersListCommand{}).Run(t.Context(), d.app); err != nil || strings.Contains(d.out.String(), "\x1b") ||
		!strings.Contains(d.out.String(), "ours.yaml") {
		t.Errorf("%v\n%q", err, d.out.String())
	}
	d.providers = []*obov1.ProviderFile{{Name: "new.yaml", Text: "name: new\nnewer_than_we: 1\n"}}
	if _, err := d.records(t.Context()); err == nil || !strings.Contains(err.Error(), "newer_than_we") {
		t.Errorf("%v", err)
	}
}

const notesFakes = `provider: notes
cases:
  rejected: {at: api, status: 401, source: ours, expect: {kind: revoked}}
  rate_limit: {at: api, status: 429, source: ours, expect: {kind: rate_limited}}
`

func TestProvidersLint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, fakes := file("notes.yaml", notesRecord), file("fakes.yaml", notesFakes)
	for name, c := range map[string]struct {
		args []string
		bad  []string // what must be said, each in a problem of its own
	}{
		"good":                  {args: []string{good}},
		"good with its fakes":   {args: []string{good, "--fakes", fakes}},
		"all at once":           {args: []string{file("bad.yaml", strings.NewReplacer("https:", "ftp:", "GET", "TRACE").Replace(notesRecord))}, bad: []string{"base_url: ", "tools/ping/method: "}},
		"unknown keys, both":    {args: []string{file("keys.yaml", notesRecord+"one: 1\ntwo: 2\n")}, bad: []string{"field one not found", "field two not found"}},
		"the same twice":        {args: []string{good, file("again.yaml", notesRecord)}, bad: []string{"name: "}},
		"no such file":          {args: []string{filepath.Join(dir, "none")}, bad: []string{"cannot be read"}},
		"a folder":              {args: []string{dir}, bad: []string{"no regular file"}},
		"misunderstood answers": {args: []string{good, "--fakes", file("f1.yaml", strings.ReplaceAll(notesFakes, "401", "403"))}, bad: []string{"cases/rejected: is understood as"}},
		"an answer is missing":  {args: []string{good, "--fakes", file("f2.yaml", "provider: notes\n")}, bad: []string{"cases/rate_limit: ", "cases/rejected: "}},
		"fakes of another":      {args: []string{good, "--fakes", file("f3.yaml", "provider: other\n")}, bad: []string{"provider: none of the files"}},
		"no fakes at all":       {args: []string{good, "--fakes", file("f4.yaml", "no: fakes\n")}, bad: []string{"field no not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := obo(t, nil, "", append([]string{"providers", "lint", "-o", "json"}, c.args...)...)
			var doc struct{ Files []linted }
			if err := json.Unmarshal([]byte(got.out), &doc); err != nil {
				t.Fatalf("%v\n%s%s", err, got.out, got.err)
			}
			var problems []string
			for _, f := range doc.Files {
				problems = append(problems, f.Problems...)
				if f.Valid != (len(f.Problems) == 0) {
					t.Errorf("%+v", f)
				}
			}
			if (got.code == 0) != (len(c.bad) == 0) || got.code > explain.Failed {
				t.Errorf("exit %d", got.code)
			}
			for _, want := range c.bad {
				if !strings.Contains(strings.Join(problems, "\n"), want) {
					t.Errorf("%q is not in %q", want, problems)
				}
			}
			if len(problems) < len(c.bad) {
				t.Errorf("only %q", problems)
			}
			if text := obo(t, nil, "", append([]string{"providers", "lint"}, c.args...)...); strings.Count(text.out, "bad  ") != len(problems) {
				t.Errorf("%s", text.out)
			}
		})
	}
}
