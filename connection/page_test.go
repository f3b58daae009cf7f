package connection

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write docs/PROVIDERS.md again")

const (
	providersPage = "../docs/PROVIDERS.md"
	pageMark      = "<!-- generated: go test ./connection -run TestProvidersPage -update -->\n"
)

// TestProvidersPage: after its mark, docs/PROVIDERS.md is what the types, their comments and the built-in records say.
func TestProvidersPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(providersPage)
	if err != nil {
		t.Fatal(err)
	}
	prose, got, ok := strings.Cut(string(page), pageMark)
	if !ok {
		t.Fatalf("%s has lost its mark %q", providersPage, pageMark)
	}
	want := renderPage(t)
	if *update {
		if err := os.WriteFile(providersPage, []byte(prose+pageMark+want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Error("docs/PROVIDERS.md is stale: run go test ./connection -run TestProvidersPage -update")
	}
}

// page is the generated half.
type page struct {
	strings.Builder
	t        *testing.T
	comments map[string]string   // by Type.Field
	examples map[string]string   // by Type.Field, from the built-in records
	places   map[string][]string // where a type's fields stand in a record
	order    []reflect.Type      // types in the order in which they are met
}

func renderPage(t *testing.T) string {
	t.Helper()
	p := &page{t: t, comments: recordComments(t), examples: map[string]string{}, places: map[string][]string{}}
	records := builtinRecords(t)
	// Whose record is the model comes first, so that a new one changes few examples.
	slices.SortStableFunc(records, func(a, b record) int {
		models := []string{"google", "github", "example"}
		rank := func(r record) int { return (slices.Index(models, r.Name) + len(models) + 1) % (len(models) + 1) }
		return cmp.Compare(rank(a), rank(b))
	})
	for _, r := range records {
		p.collect(reflect.ValueOf(r))
	}
	for owner, text := range map[string]string{ // what no built-in record has
		"authRecord.Query": "api_key", "authRecord.Reason": "The API takes its key nowhere else.", "toolRecord.Encoding": "form",
		"revokeRecord.Params": "{token_type_hint: refresh_token}", "assertionRecord.KeyID": `"{key_id}"`,
		"record.PerUser.Calls": "30", "record.PerUser.Per": "1m",
	} {
		p.examples[owner] = cmp.Or(p.examples[owner], text)
	}
	p.visit("", reflect.TypeFor[record]())
	for _, typ := range p.order {
		p.section(typ)
	}
	p.kinds()
	p.table()
	return p.String()
}

// fieldsOf calls f for each field of a struct; a struct without a name is a part of the one that it is in.
func fieldsOf(typ reflect.Type, f func(owner, key string, field reflect.StructField, index []int)) {
	var walk func(typ reflect.Type, owner, key string, index []int)
	walk = func(typ reflect.Type, owner, key string, index []int) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, at := owner+"."+field.Name, append(slices.Clone(index), i)
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner.Name() == "" {
				walk(inner, name, key+field.Tag.Get("yaml")+".", at)
				continue
			}
			f(name, key+field.Tag.Get("yaml"), field, at)
		}
	}
	walk(typ, typ.Name(), "", nil)
}

// element is the struct that a field leads to, and how its path goes on.
func element(typ reflect.Type) (reflect.Type, string) {
	switch typ.Kind() {
	case reflect.Pointer:
		inner, suffix := element(typ.Elem())
		return inner, suffix
	case reflect.Slice:
		inner, suffix := element(typ.Elem())
		return inner, "[]" + suffix
	case reflect.Map:
		inner, suffix := element(typ.Elem())
		return inner, ".NAME" + suffix
	case reflect.Struct:
		return typ, ""
	}
	return nil, ""
}

func (p *page) visit(path string, typ reflect.Type) {
	if !slices.Contains(p.order, typ) {
		p.order = append(p.order, typ)
	}
	if path != "" {
		p.places[typ.Name()] = append(p.places[typ.Name()], "`"+path+"`")
	}
	fieldsOf(typ, func(_, key string, field reflect.StructField, _ []int) {
		if inner, suffix := element(field.Type); inner != nil {
			p.visit(strings.TrimPrefix(path+"."+key+suffix, "."), inner)
		}
	})
}

// collect takes the first value of each field that is short enough to be an example.
func (p *page) collect(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			p.collect(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			p.collect(v.Index(i))
		}
	case reflect.Map:
		for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			p.collect(v.MapIndex(key))
		}
	case reflect.Struct:
		fieldsOf(v.Type(), func(owner, key string, field reflect.StructField, index []int) {
			value, err := v.FieldByIndexErr(index)
			if err != nil || value.IsZero() {
				return
			}
			if inner, _ := element(field.Type); inner != nil {
				p.collect(value)
				return
			}
			if text := example(p.t, value); p.examples[owner] == "" && len(text) <= 90 {
				p.examples[owner] = text
			}
		})
	}
}

// example is a value in YAML on one line; of a map, its first member.
func example(t *testing.T, v reflect.Value) string {
	t.Helper()
	if v.Kind() == reflect.Map && v.Len() > 1 {
		first := slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })[0]
		one := reflect.MakeMap(v.Type())
		one.SetMapIndex(first, v.MapIndex(first))
		v = one
	}
	var n yaml.Node
	if err := n.Encode(v.Interface()); err != nil {
		t.Fatal(err)
	}
	n.Style |= yaml.FlowStyle
	text, err := yaml.Marshal(&n)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

func (p *page) section(typ reflect.Type) {
	places := p.places[typ.Name()]
	if len(places) == 0 {
		p.WriteString("\n## A record\n")
	} else {
		fmt.Fprintf(p, "\n### %s\n", strings.Join(places, ", "))
	}
	if text := p.comments[typ.Name()]; text != "" && len(places) > 0 {
		fmt.Fprintf(p, "\n%s\n", sentence(text, typ.Name(), "This"))
	}
	p.WriteString("\n| key | value | what it is | example |\n|---|---|---|---|\n")
	fieldsOf(typ, func(owner, key string, field reflect.StructField, _ []int) {
		text := p.comments[owner]
		if text == "" {
			p.t.Errorf("%s has no comment", owner)
			return
		}
		shown := p.examples[owner]
		if shown != "" {
			shown = "`" + shown + "`"
		}
		if inner, suffix := element(field.Type); inner != nil {
			place := p.places[inner.Name()]
			shown = "see " + place[slices.IndexFunc(place, func(s string) bool { return strings.HasSuffix(s, key+suffix+"`") })]
		} else if shown == "" {
			p.t.Errorf("%s: no built-in record has it, or none that is short: is it needed?", owner)
		}
		group, _, part := strings.Cut(key, ".")
		parent := owner[:strings.LastIndex(owner, ".")]
		if text := p.comments[parent]; part && text != "" && !strings.Contains(p.String(), "| `"+group+"` | members |") {
			name := parent[strings.LastIndex(parent, ".")+1:]
			fmt.Fprintf(p, "| `%s` | members | %s | |\n", group, cell(sentence(text, name, "`"+group+"`")))
		}
		last := field.Name
		fmt.Fprintf(p, "| `%s` | %s | %s | %s |\n", key, word(p.t, owner, field.Type), cell(sentence(text, last, "`"+field.Tag.Get("yaml")+"`")), cell(shown))
	})
}

// sentence is a comment that begins with its name, with another name instead, or as it is.
func sentence(text, name, instead string) string {
	if rest, ok := strings.CutPrefix(text, name+" "); ok {
		return instead + " " + rest
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func word(t *testing.T, owner string, typ reflect.Type) string {
	t.Helper()
	switch typ.Kind() {
	case reflect.Pointer:
		return word(t, owner, typ.Elem())
	case reflect.String:
		return "text"
	case reflect.Int:
		return "number"
	case reflect.Bool:
		return "true, false"
	case reflect.Interface:
		return "any"
	case reflect.Struct:
		return "members"
	case reflect.Slice:
		return "list of " + word(t, owner, typ.Elem())
	case reflect.Map:
		return "name to " + word(t, owner, typ.Elem())
	}
	t.Errorf("%s: no word for %s", owner, typ)
	return ""
}

// kinds are what answers can mean.
func (p *page) kinds() {
	p.WriteString("\n## What an answer can mean\n\n| kind | of `answers` | of `errors` | what it means |\n|---|---|---|---|\n")
	yes := map[bool]string{true: "yes", false: ""}
	all := slices.Concat(recordKinds, grantKinds)
	slices.Sort(all)
	for _, k := range slices.Compact(all) {
		text := p.comments["Kind."+string(k)]
		if text == "" {
			p.t.Errorf("kind %s has no comment", k)
			continue
		}
		fmt.Fprintf(p, "| `%s` | %s | %s | %s |\n", k, yes[slices.Contains(recordKinds, k)], yes[slices.Contains(grantKinds, k)], cell(sentence(text, "", "")))
	}
}

// table is the built-in records.
func (p *page) table() {
	p.WriteString(`
## The built-in records

Rotation is what a refresh does to the refresh token; revocation says who can end a grant at the provider. The last two columns
count what nobody has found in the provider's documentation: facts of the record, and answers among its fakes.

| record | provider | patterns | rotation | revocation | tools | facts unverified | answers unverified |
|---|---|---|---|---|---|---|---|
`)
	for _, b := range Builtin() {
		s := b.Summary()
		var patterns []string
		for _, pattern := range s.Patterns {
			patterns = append(patterns, string(pattern))
		}
		revocation := "-"
		switch {
		case s.Revokes:
			revocation = "obo"
		case s.Rotation != "":
			revocation = "the user"
		}
		guesses, answers := unverifiedFakes(p.t, s.Name)
		fmt.Fprintf(p, "| [%s](../connection/providers/%s.yaml) | %s | %s | %s | %s | %d | %d | %d of %d |\n", s.Name, s.Name, s.Title,
			strings.Join(patterns, ", "), cmp.Or(string(s.Rotation), "-"), revocation, len(s.Tools), len(s.Unverified), guesses, answers)
	}
}

func unverifiedFakes(t *testing.T, name string) (guesses, answers int) {
	t.Helper()
	text, err := os.ReadFile("fakes/recorded/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Cases map[string]struct{ Unverified bool }
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Cases {
		if c.Unverified {
			guesses++
		}
	}
	return guesses, len(f.Cases)
}

func builtinRecords(t *testing.T) []record {
	t.Helper()
	files, err := filepath.Glob("providers/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var out []record
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := decodeRecord(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// recordComments are the comments of this package's types, of their fields by Type.Field, and of kinds by Kind.value, on one line.
func recordComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	line := func(groups ...*ast.CommentGroup) string {
		for _, g := range groups {
			if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
				return text
			}
		}
		return ""
	}
	var members func(owner string, s *ast.StructType)
	members = func(owner string, s *ast.StructType) {
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				key := owner + "." + name.Name
				out[key] = line(f.Doc, f.Comment)
				inner := f.Type
				if star, ok := inner.(*ast.StarExpr); ok {
					inner = star.X
				}
				if nested, ok := inner.(*ast.StructType); ok {
					members(key, nested)
				}
			}
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.GenDecl:
				if len(x.Specs) == 1 {
					if spec, ok := x.Specs[0].(*ast.TypeSpec); ok {
						out[spec.Name.Name] = line(x.Doc)
					}
				}
			case *ast.TypeSpec:
				if s, ok := x.Type.(*ast.StructType); ok {
					members(x.Name.Name, s)
				}
			case *ast.ValueSpec:
				if id, ok := x.Type.(*ast.Ident); ok && id.Name == "Kind" && len(x.Values) == 1 {
					if lit, ok := x.Values[0].(*ast.BasicLit); ok {
						value, _ := strconv.Unquote(lit.Value)
						out["Kind."+value] = line(x.Comment, x.Doc)
					}
				}
			}
			return true
		})
	}
	return out
}
