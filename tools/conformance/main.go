// Command conformance runs the tests and says which rule of the standards each of them holds.
//
//	go run ./tools/conformance [-update] [PACKAGE ...]
//
// It runs `go test -json`, prints what `go test` prints, and makes docs/conformance.md of docs/STANDARDS.md (the rules) and
// of the tests that passed: a test names its rules in its doc comment or in the name of a case. Without -update it fails
// when the page is not what the tests say, or when a rule has neither a test nor a reason why it does not apply. A test stands
// in the page only when it passed in this very run.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	module = "github.com/onbehalf/obo"
	rules  = "docs/STANDARDS.md"
	page   = "docs/conformance.md"
)

func main() {
	update := flag.Bool("update", false, "write "+page)
	flag.Parse()
	if err := run(context.Background(), *update, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, update bool, packages []string) error {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	s, err := readStandards(rules)
	if err != nil {
		return err
	}
	if err := s.readComments("."); err != nil {
		return err
	}
	if err := s.runTests(ctx, packages); err != nil {
		return err
	}
	text, problems := s.render()
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	if update {
		return os.WriteFile(page, []byte(text), 0o644)
	}
	if old, err := os.ReadFile(page); err != nil || string(old) != text {
		return fmt.Errorf("%s is not what the tests say: run make conformance, and read what changed", page)
	}
	return nil
}

// rule is one line of docs/STANDARDS.md.
type rule struct {
	id, what string
	why      string       // why it does not apply; empty when it does
	held     map[test]int // by a test that passed: how many of its cases name the rule
}

// test is a test function.
type test struct{ pkg, name string }

type section struct {
	title string
	rules []*rule
}

// standards is the page of rules, and what the tests say of them.
type standards struct {
	sections []section
	byID     map[string]*rule
	comments map[test][]*rule // by doc comments
}

func readStandards(name string) (*standards, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s := &standards{byID: map[string]*rule{}, comments: map[test][]*rule{}}
	excused := false
	for line := range strings.Lines(string(data)) {
		if title, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			if excused = title == "Not applicable"; !excused {
				s.sections = append(s.sections, section{title: title})
			}
			continue
		}
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[1]) == "rule" {
			continue
		}
		id, text := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		switch known := s.byID[id]; {
		case excused && known == nil:
			return nil, fmt.Errorf("%s: %s does not apply, but is no rule", name, id)
		case excused:
			known.why = text
		case known != nil:
			return nil, fmt.Errorf("%s: %s stands twice", name, id)
		default:
			r := &rule{id: id, what: text, held: map[test]int{}}
			s.byID[id] = r
			last := &s.sections[len(s.sections)-1]
			last.rules = append(last.rules, r)
		}
	}
	if len(s.byID) == 0 {
		return nil, fmt.Errorf("%s: no rules", name)
	}
	return s, nil
}

// named finds the rules that a text names. A case's name has underscores where its author wrote spaces.
func (s *standards) named(text string) (found []*rule) {
	words := strings.FieldsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	for i, w := range words {
		if s.byID[w] != nil && !slices.Contains(found, s.byID[w]) {
			found = append(found, s.byID[w])
		}
		if w == "to" && i > 0 && i+1 < len(words) { // CA3 to CA6
			for _, r := range s.span(words[i-1], words[i+1]) {
				if !slices.Contains(found, r) {
					found = append(found, r)
				}
			}
		}
	}
	return found
}

// span is the rules from one to another of one section.
func (s *standards) span(from, to string) []*rule {
	for _, sec := range s.sections {
		first := slices.IndexFunc(sec.rules, func(r *rule) bool { return r.id == from })
		last := slices.IndexFunc(sec.rules, func(r *rule) bool { return r.id == to })
		if first >= 0 && last > first {
			return sec.rules[first : last+1]
		}
	}
	return nil
}

// readComments reads the doc comments of all test functions.
func (s *standards) readComments(root string) error {
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch base := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(base, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				t := test{path.Dir(filepath.ToSlash(name)), fn.Name.Name}
				s.comments[t] = s.named(fn.Doc.Text())
			}
		}
		return nil
	})
}

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

// runTests runs the tests, prints what a person wants to see, and notes which passed. Each is run anew: some start binaries, of whose
// sources go test's cache knows nothing.
func (s *standards) runTests(ctx context.Context, packages []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-json"}, packages...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := s.follow(out); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

func (s *standards) follow(out io.Reader) error {
	texts := map[string][]string{} // by package and test
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			fmt.Print(string(line)) // a tool's own complaint
			continue
		}
		key := e.Package + "\x00" + e.Test
		switch {
		case e.Action == "output" && e.Test == "" && (strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "FAIL\t")):
			fmt.Print(e.Output)
		case e.Action == "output" || e.Action == "build-output":
			texts[key] = append(texts[key], e.Output)
		case e.Action == "fail":
			fmt.Print(strings.Join(texts[key], ""))
			delete(texts, key)
		case e.Action == "build-fail":
			fmt.Print(strings.Join(texts[key], ""))
		case e.Action == "pass" && e.Test != "":
			s.passed(e)
			delete(texts, key)
		case e.Action == "skip" && e.Test != "":
			fmt.Printf("skipped: %s %s\n", e.Package, e.Test)
		}
	}
}

func (s *standards) passed(e event) {
	pkg := strings.TrimPrefix(strings.TrimPrefix(e.Package, module), "/")
	name, cases, isCase := strings.Cut(e.Test, "/")
	t := test{cmp.Or(pkg, "."), name}
	if !isCase {
		for _, r := range s.comments[t] {
			r.held[t] += 0
		}
		return
	}
	for _, r := range s.named(cases) {
		r.held[t]++
	}
}

// render makes the page, and lists what is wrong with it.
func (s *standards) render() (text string, problems []string) {
	var b strings.Builder
	b.WriteString(`# Conformance

Generated by ` + "`make conformance`" + ` from [STANDARDS.md](STANDARDS.md) and from the tests that passed; ` + "`make test`" + ` fails when it is stale.
A number in parentheses says how many cases of a test name the rule.
`)
	for _, sec := range s.sections {
		fmt.Fprintf(&b, "\n## %s\n\n| rule | what | held by |\n|---|---|---|\n", sec.title)
		for _, r := range sec.rules {
			switch {
			case r.why != "":
				fmt.Fprintf(&b, "| %s | %s | does not apply: %s |\n", r.id, r.what, r.why)
			case len(r.held) == 0:
				problems = append(problems, fmt.Sprintf("%s (%s): no test that passed names it, and %s gives no reason", r.id, r.what, rules))
			default:
				fmt.Fprintf(&b, "| %s | %s | pass: %s |\n", r.id, r.what, r.tests())
			}
		}
	}
	return b.String(), problems
}

// most is how many tests of a rule are named; the rest are counted.
const most = 5

func (r *rule) tests() string {
	all := make([]test, 0, len(r.held))
	for t := range r.held {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b test) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, t := range all[:min(len(all), most)] {
		name := fmt.Sprintf("`%s` %s", t.pkg, t.name)
		if n := r.held[t]; n > 0 {
			name += fmt.Sprintf(" (%d)", n)
		}
		names = append(names, name)
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(names, "; ")
}
