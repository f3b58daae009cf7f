package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/onbehalf/obo/telemetry"
)

var update = flag.Bool("update", false, "write docs/CONFIG.md again")

const configPage = "../docs/CONFIG.md"

// TestConfigPage: docs/CONFIG.md is what the types, their comments and their checks say.
func TestConfigPage(t *testing.T) {
	t.Parallel()
	want := renderPage(t)
	if *update {
		if err := os.WriteFile(configPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(configPage)
	if err != nil || string(got) != want {
		t.Errorf("docs/CONFIG.md is stale: run go test ./config -run TestConfigPage -update (%v)", err)
	}
}

const pageHead = `# Configuration

Generated from package config by ` + "`go test ./config -run TestConfigPage -update`" + `. Do not edit.

A server reads one YAML file. A key that is not below is an error, and so is one that comes twice. A string may hold references:
` + "`${env:NAME}`" + ` stands for an environment variable, ` + "`${file:/path}`" + ` for the content of a file of mode 0600 without the newline at its
end. ` + "`-check-config`" + ` reads the file and all that it names, says everything that is wrong at once, and exits; ` + "`--output json`" + ` makes that
` + "`{\"file\", \"valid\", \"problems\": [{\"path\", \"what\", \"why\", \"do\"}]}`" + `.

SIGHUP reads it again. What is marked ↻ then takes effect for whoever asks next. If anything else has changed, or anything is wrong,
nothing of it takes effect, and the log says which keys were the reason. Certificates need no signal: their files are watched.
`

func renderPage(t *testing.T) string {
	t.Helper()
	r := renderer{t: t, comments: fieldComments(t)}
	r.WriteString(pageHead)
	r.server("obo-sts", new(STS))
	r.server("obo-executor", new(Executor))
	return r.String()
}

type renderer struct {
	strings.Builder
	t        *testing.T
	comments map[string]string // by Type.Field
	required map[string]bool   // by path
	allowed  map[string]string // by path
}

// server asks the checks themselves what is required and what is allowed.
func (r *renderer) server(name string, c document) {
	r.required, r.allowed = map[string]bool{}, map[string]string{}
	v := reflect.ValueOf(c).Elem()
	c.setDefaults()
	p := problems{allows: func(path, values string) { r.allowed[path] = values }}
	c.check(&p)
	for _, found := range p.list {
		r.required[found.Path] = true
	}
	fill(v)
	p = problems{}
	c.check(&p)
	for _, found := range p.list {
		r.required[found.Path] = true
	}
	fmt.Fprintf(r, "\n## %s\n\n| key | type | default | allowed | ↻ | what it is |\n|---|---|---|---|---|---|\n", name)
	r.fields("", "required", v)
}

// fill makes what is optional, so that its keys are there to be listed.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		}
		if f.Kind() == reflect.Struct {
			fill(f)
		}
	}
}

func (r *renderer) fields(path, required string, v reflect.Value) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		key := join(path, f.Tag.Get("yaml"))
		needed := required
		if value.Kind() == reflect.Pointer {
			value, needed = value.Elem(), "required in `"+key+"`"
		}
		what, says := r.comment(v.Type().Name(), f.Name)
		if value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Struct {
			key, value, needed = key+"[0]", value.Index(0), "required in each"
		}
		if value.Kind() == reflect.Struct {
			fmt.Fprintf(r, "| `%s` | | | | | %s |\n", strings.ReplaceAll(key, "[0]", "[]"), what)
			r.fields(key, needed, value)
			continue
		}
		fallback := "-"
		if s := fmt.Sprint(value.Interface()); s != "" && s != "[]" {
			fallback = "`" + plainValue(value) + "`"
		}
		if r.required[key] {
			fallback = required
		}
		if r.required[key] != (says == "Required.") {
			r.t.Errorf("%s: required is %v by the checks, and the comment ends with %q", key, r.required[key], says)
		}
		if named, ok := strings.CutPrefix(says, "Default "); ok && "`"+strings.TrimSuffix(named, ".")+"`" != fallback {
			r.t.Errorf("%s: the comment says %q, the code %s", key, says, fallback)
		}
		reload := ""
		if f.Tag.Get("reload") == "true" {
			reload = "↻"
		}
		allowed := r.allowed[key]
		if value.Kind() == reflect.Bool {
			allowed = "true, false"
		}
		fmt.Fprintf(r, "| `%s` | %s | %s | %s | %s | %s |\n", strings.ReplaceAll(key, "[0]", "[]"), r.typeName(key, value), fallback, allowed, reload, what)
	}
}

func plainValue(v reflect.Value) string {
	if d, ok := v.Interface().(time.Duration); ok {
		return short(d)
	}
	return fmt.Sprint(v.Interface())
}

func (r *renderer) typeName(key string, v reflect.Value) string {
	switch v.Interface().(type) {
	case time.Duration:
		return "duration"
	case telemetry.Secret:
		return "string, secret"
	case []string:
		return "list of strings"
	case string:
		return "string"
	case int:
		return "number"
	case bool:
		return "boolean"
	}
	r.t.Errorf("%s: docs/CONFIG.md has no word for %s", key, v.Type())
	return ""
}

// said is what a comment says at its end and the table in columns of its own.
var said = regexp.MustCompile(` (Required|Optional|Default [^ ]+)\.$`)

func (r *renderer) comment(typeName, field string) (what, says string) {
	text := r.comments[typeName+"."+field]
	what, ok := strings.CutPrefix(text, field+" ")
	if !ok {
		r.t.Errorf("%s.%s has no comment that begins with its name", typeName, field)
		return "", ""
	}
	says = strings.TrimSpace(said.FindString(what))
	what = said.ReplaceAllString(what, "")
	for _, verb := range []string{"is ", "are "} {
		what = strings.TrimPrefix(what, verb)
	}
	runes := []rune(strings.ReplaceAll(what, "|", `\|`))
	return string(unicode.ToUpper(runes[0])) + string(runes[1:]), says
}

// fieldComments are the doc comments of every field of this package, on one line, by Type.Field.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				for _, id := range field.Names {
					out[spec.Name.Name+"."+id.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
			return true
		})
	}
	return out
}

// TestCompare: a key that is not marked needs a restart, whatever else changed, and no value is shown.
func TestCompare(t *testing.T) {
	t.Parallel()
	old := STS{Issuer: "https://a.example", Store: Store{URL: "postgres://u:canary@a/b"}, Limits: Limits{OrgRate: 1}}
	next := old
	if got := Compare(old, next); len(got.Reload)+len(got.Restart) != 0 {
		t.Errorf("no change: %+v", got)
	}
	next.Limits.OrgRate, next.Log.Level, next.Admin.TokenFile = 2, "debug", "/b"
	if got := Compare(old, next); !slices.Equal(got.Reload, []string{"admin.token_file", "limits.org_rate", "log.level"}) || got.Restart != nil {
		t.Errorf("what a reload takes: %+v", got)
	}
	next.Issuer, next.Store.URL, next.Listen.TLS = "https://b.example", "postgres://u:canary2@a/b", &ServerTLS{CertFile: "c"}
	next.Listen.Hosts = []string{"x"}
	got := Compare(old, next)
	if !slices.Equal(got.Restart, []string{"issuer", "listen.tls", "listen.hosts", "store.url"}) || len(got.Reload) != 3 {
		t.Errorf("what needs a restart: %+v", got)
	}
	old.Listen.TLS = &ServerTLS{CertFile: "d"}
	if got := Compare(old, next); !slices.Contains(got.Restart, "listen.tls.cert_file") {
		t.Errorf("within a group that both have: %+v", got)
	}
	if strings.Contains(fmt.Sprintf("%+v", got), "canary") {
		t.Error("a value is shown")
	}
}
