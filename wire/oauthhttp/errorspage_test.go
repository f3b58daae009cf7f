package oauthhttp_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/wire/grpcerr"
)

var update = flag.Bool("update", false, "write docs/ERRORS.md again; a difference is a change of protocol")

const errorsPage = "../../docs/ERRORS.md"

// TestErrorsPage: GR3. docs/ERRORS.md is what the code does: every reason that is declared is in it, with the codes that the
// doors really give and with advice.
func TestErrorsPage(t *testing.T) {
	t.Parallel()
	want := renderErrors(t)
	if *update {
		if err := os.WriteFile(errorsPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(errorsPage)
	if err != nil || string(got) != want {
		t.Errorf("docs/ERRORS.md is stale: run go test ./wire/oauthhttp -run TestErrorsPage -update (%v)", err)
	}
}

// TestReasonsAreOne: GR9. A word means one thing: every reason of the two servers is one of gRPC's table, with the same OAuth
// code, and gRPC's table has no reason that nobody declares.
func TestReasonsAreOne(t *testing.T) {
	t.Parallel()
	ours, theirs := declared(t, "../../exchange", "Reason"), declared(t, "../../executor", "Reason")
	if len(ours) < 10 || len(theirs) < 5 {
		t.Fatalf("found %d and %d reasons: the search is broken", len(ours), len(theirs))
	}
	table := grpcerr.Reasons()
	for _, r := range slices.Concat(ours, theirs) {
		if !slices.Contains(table, grpcerr.Reason(r)) {
			t.Errorf("%s has no row in grpcerr", r)
		}
	}
	for _, r := range declared(t, "../grpcerr", "Reason") {
		if !slices.Contains(table, grpcerr.Reason(r)) {
			t.Errorf("%s is declared in grpcerr and has no row", r)
		}
	}
	for _, r := range ours {
		if _, oauth := overGRPC(t, r, ""); oauth != exchange.Reason(r).OAuth() {
			t.Errorf("%s is %s over gRPC and %s over HTTP", r, oauth, exchange.Reason(r).OAuth())
		}
	}
}

// declared are the string constants of a type in a package, read from its source, so that none is forgotten.
func declared(t *testing.T, dir, typeName string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no source (%v)", dir, err)
	}
	var out []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if named, ok := spec.Type.(*ast.Ident); !ok || named.Name != typeName || len(spec.Values) != 1 {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, value)
			}
			return true
		})
	}
	return out
}

// overGRPC is how a reason looks there.
func overGRPC(t *testing.T, reason, field string) (code, oauth string) {
	t.Helper()
	s := status.Convert(grpcerr.Error{Reason: grpcerr.Reason(reason), Field: field})
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			oauth = info.GetMetadata()[grpcerr.OAuthKey]
		}
	}
	return rpccode.Code(s.Code()).String(), oauth
}

// overHTTP is how a reason of the token server looks there: asked of the very door.
func overHTTP(t *testing.T, reason string) string {
	t.Helper()
	x := &fake{err: &exchange.Error{Reason: exchange.Reason(reason), RetryAfter: time.Second}}
	got := do(handler(t, x, nil), post(valid(nil)))
	var body oauthError
	if err := json.NewDecoder(got.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if body.Error != exchange.Reason(reason).OAuth() {
		t.Errorf("%s is %s over HTTP", reason, body.Error)
	}
	return strconv.Itoa(got.StatusCode)
}

// renderErrors makes the page.
func renderErrors(t *testing.T) string {
	t.Helper()
	ours, theirs := declared(t, "../../exchange", "Reason"), declared(t, "../../executor", "Reason")
	var b strings.Builder
	b.WriteString(errorsHead)
	for _, r := range grpcerr.Reasons() {
		name := string(r)
		a, ok := advice[name]
		if !ok {
			t.Errorf("%s lacks advice", name)
		}
		plain, oauth := overGRPC(t, name, "")
		withField, _ := overGRPC(t, name, "x")
		code := withField
		if plain != withField {
			code = withField + " with a field, else " + plain
		}
		var by []string
		http := "-"
		if slices.Contains(ours, name) {
			by, http = append(by, "token server"), overHTTP(t, name)
		}
		if slices.Contains(theirs, name) {
			by = append(by, "executor")
		}
		if len(by) == 0 {
			by = append(by, "operator's services")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s | %s | %s |\n", name, strings.Join(by, ", "), a.meaning, oauth, code, http, a.what)
	}
	b.WriteString(errorsMiddle)
	kinds := declared(t, "../../connection", "Kind")
	for _, k := range kinds {
		a, ok := kindAdvice[k]
		if !ok {
			t.Errorf("kind %s lacks advice", k)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k, a.meaning, a.what)
	}
	for _, name := range slices.Sorted(maps.Keys(advice)) {
		if !slices.Contains(grpcerr.Reasons(), grpcerr.Reason(name)) {
			t.Errorf("there is advice for %s, and no such reason", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kindAdvice)) {
		if !slices.Contains(kinds, name) {
			t.Errorf("there is advice for kind %s, and no such kind", name)
		}
	}
	return b.String()
}
