// Package obo_test holds the laws of the house that the compiler cannot: which floor may import which, and which two
// packages may never share a binary.
//
// It parses the imports itself. A test that asks `go list` is served stale from the test cache, because the cache knows
// only of files that the test process opened, and then stays green on broken code.
package obo_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/onbehalf/obo"

// floors says where each package lives (docs/ARCHITECTURE.md). An import must go to a lower floor. A package that is not
// listed lives where its nearest listed parent does, and may import that parent.
var floors = map[string]int{
	"jose": 0, "config": 0, "telemetry": 0, "egress": 0, "seal": 0, "gen": 0, "examples": 0,
	"delegation": 1, "delegation/rar": 1, "delegation/dpop": 1,
	"store": 2, "delegation/delegationgrpc": 2, "delegation/delegationhttp": 2, "delegation/delegationtest": 2,
	"policy": 3, "keys": 3, "audit": 3, "revocation": 3,
	"store/sqlite": 3, "store/postgres": 3, "store/storetest": 3,
	"vault":      4,
	"connection": 5, "exchange/registry": 5, "exchange/signals": 5,
	"exchange": 6, "exchange/admin": 6, "executor": 6,
	"wire":                      7,
	"delegation/delegationfeed": 7, // a library that puts a follower and its gRPC stream together
	"client":                    3,
	"examples/orchestrator":     8, "examples/subagent": 8,
	"cmd": 8, "e2e": 8,
}

// equals are the imports within one floor that are meant.
var equals = map[string][]string{
	"delegation":                {"delegation/rar"},
	"config":                    {"telemetry"},
	"seal/pkcs11":               {"telemetry"},
	"exchange/admin":            {"exchange"},
	"exchange/exchangetest":     {"exchange", "exchange/admin"},
	"wire/exchangegrpc":         {"wire/grpcerr", "wire/grpcpeer"},
	"wire/admingrpc":            {"wire/grpcerr", "wire/grpcauth", "wire/page"},
	"wire/auditgrpc":            {"wire/grpcerr", "wire/grpcauth"},
	"wire/feedgrpc":             {"wire/grpcerr", "wire/grpcauth"},
	"wire/identitygrpc":         {"wire/grpcerr"},
	"wire/executorgrpc":         {"wire/grpcerr", "wire/grpcauth", "wire/grpcpeer", "wire/page"},
	"wire/page":                 {"wire/grpcerr"},
	"wire/grpcauth":             {"wire/grpcerr"},
	"delegation/delegationfeed": {"wire/feedgrpc"},
	"store/storetest/pgtest":    {"store/postgres"},
	"store/storetest/contract":  {"store/storetest"},
}

// apart are the pairs that may not share a binary: who must never reach what, and why.
var apart = []struct{ from, never, why string }{
	{"cmd/obo-sts", "vault", "signing keys and provider credentials never share a process"},
	{"cmd/obo-sts", "connection", "signing keys and provider credentials never share a process"},
	{"cmd/obo-executor", "keys", "provider credentials and signing keys never share a process"},
	{"cmd/obo-executor", "exchange", "an executor spends tokens; it cannot issue them"},
	{"cmd/obo-sts", "client", "the library is for agents: a server that asks another would need a credential"},
	{"cmd/obo-executor", "client", "the library is for agents: a server that asks another would need a credential"},
}

// rooms are the packages that alone may import an outside one.
var rooms = map[string][]string{
	"github.com/lestrrat-go/jwx/v2":                            {"jose"},
	"github.com/cedar-policy/cedar-go":                         {"policy"},
	"github.com/jackc/pgx/v5":                                  {"store/postgres", "store/storetest/pgtest"},
	"modernc.org/sqlite":                                       {"store/sqlite"},
	"github.com/tink-crypto/tink-go/v2":                        {"seal"},
	"google.golang.org/grpc/status":                            {"wire", "delegation/delegationgrpc", "cmd", "client"},
	"github.com/santhosh-tekuri/jsonschema/v6":                 {"connection", "delegation/rar"},
	"github.com/spiffe/go-spiffe/v2":                           {"exchange"},
	"github.com/standard-webhooks/standard-webhooks/libraries": {"executor/notify"},
	"golang.org/x/oauth2":                                      {"client", "cmd/obo/internal/signin", "connection"},
	"github.com/coreos/go-oidc/v3":                             {"cmd/obo/internal/signin"},
	"github.com/ThalesGroup/crypto11":                          {"keys/pkcs11", "seal/pkcs11"},
	"github.com/aws/aws-sdk-go-v2":                             {"keys/awskms", "seal/awskms"},
	"github.com/elimity-com/scim":                              {"wire/scimhttp"},
	"github.com/scim2/filter-parser/v2":                        {"wire/scimhttp"},
}

// namesNothing are folder names that say nothing of what is in them.
var namesNothing = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "manager", "base", "pkg"}

type source struct {
	dir, file string
	imports   []string
	test      bool
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "tools") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{dir: path.Dir(filepath.ToSlash(name)), file: name, test: strings.HasSuffix(name, "_test.go")}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("found no Go files: the laws would hold of nothing")
	}
	return out
}

// floor finds the floor of a package, and the listed parent that gives it.
func floor(pkg string) (int, string, bool) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if n, ok := floors[p]; ok {
			return n, p, true
		}
	}
	return 0, "", false
}

// testPackage reports whether a package exists for tests only, such as delegation/delegationtest or store/storetest.
func testPackage(pkg string) bool {
	return slices.ContainsFunc(strings.Split(pkg, "/"), func(s string) bool { return strings.HasSuffix(s, "test") })
}

func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.dir == "." || s.test || testPackage(s.dir) {
			continue
		}
		from, room, ok := floor(s.dir)
		if !ok {
			t.Errorf("%s: package %s has no floor; give it one in arch_test.go and a reason in docs/adr", s.file, s.dir)
			continue
		}
		for _, i := range s.imports {
			to, ok := strings.CutPrefix(i, module+"/")
			if !ok {
				continue
			}
			n, target, ok := floor(to)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no floor", s.file, to)
			case n < from, target == room, slices.Contains(equals[s.dir], to):
			default:
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", s.file, from, to, n)
			}
		}
	}
}

func TestSecretsNeverShareABinary(t *testing.T) {
	t.Parallel()
	graph := map[string][]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, i := range s.imports {
			if to, ok := strings.CutPrefix(i, module+"/"); ok {
				graph[s.dir] = append(graph[s.dir], to)
			}
		}
	}
	for _, pair := range apart {
		if len(graph[pair.from]) == 0 {
			t.Errorf("%s imports nothing of the house: is it still there?", pair.from)
		}
		seen := map[string]bool{}
		var walk func(pkg string, trail []string)
		walk = func(pkg string, trail []string) {
			if seen[pkg] {
				return
			}
			seen[pkg] = true
			if pkg == pair.never || strings.HasPrefix(pkg, pair.never+"/") {
				t.Errorf("%s reaches %s by %s: %s", pair.from, pkg, strings.Join(trail, " -> "), pair.why)
				return
			}
			for _, next := range graph[pkg] {
				walk(next, append(trail[:len(trail):len(trail)], next))
			}
		}
		walk(pair.from, []string{pair.from})
	}
}

func TestEveryOutsideRoomHasOneDoor(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || testPackage(s.dir) || strings.HasPrefix(s.dir, "gen/") {
			continue
		}
		for _, i := range s.imports {
			for outside, allowed := range rooms {
				if i != outside && !strings.HasPrefix(i, outside+"/") {
					continue
				}
				if !slices.ContainsFunc(allowed, func(a string) bool { return s.dir == a || strings.HasPrefix(s.dir, a+"/") }) {
					t.Errorf("%s imports %s, which only %s may", s.file, i, strings.Join(allowed, ", "))
				}
			}
			if i == "testing" {
				t.Errorf("%s imports testing outside a test", s.file)
			}
		}
	}
}

func TestNamesSaySomething(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, part := range strings.Split(s.dir, "/") {
			if slices.Contains(namesNothing, part) {
				t.Errorf("%s: a folder named %q names nothing", s.file, part)
			}
		}
	}
}

// TestOnlyExchangeMints: the types make a wider token impossible; that a chain starts or a key signs only after a decision
// is a law about callers, and so is checked at the source.
func TestOnlyExchangeMints(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || testPackage(s.dir) || s.dir == "exchange" || s.dir == "delegation" {
			continue
		}
		if calls(t, s.file, "delegation", "Root") {
			t.Errorf("%s calls delegation.Root; only exchange may start a chain", s.file)
		}
	}
}

// calls reports whether a file mentions pkg.name.
func calls(t *testing.T, file, pkg, name string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == name {
			id, ok := sel.X.(*ast.Ident)
			found = found || ok && id.Name == pkg
		}
		return true
	})
	return found
}
