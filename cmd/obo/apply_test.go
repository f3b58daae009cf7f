package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// plane is both servers' administration of one org, which refuses what was made of another version.
type plane struct {
	obov1.UnimplementedAdminServiceServer
	obov1.UnimplementedExecutorAdminServiceServer
	mu        sync.Mutex
	document  []byte
	version   int64
	providers []*obov1.ProviderFile
	puts      int // of providers, carried out
	// before and after are asked for a fault of each call: "GetOrg", "ApplyOrg", "ApplyOrg dry", ...
	before, after func(call string) error
}

// fault asks a hook, without the lock, so that the hook can change things.
func fault(hook func(string) error, call string, dry bool) error {
	if dry {
		call += " dry"
	}
	if hook == nil {
		return nil
	}
	return hook(call)
}

func (p *plane) GetOrg(context.Context, *obov1.GetOrgRequest) (*obov1.GetOrgResponse, error) {
	if err := fault(p.before, "GetOrg", false); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &obov1.GetOrgResponse{Document: p.document, Version: p.version}, nil
}

func (p *plane) ApplyOrg(_ context.Context, r *obov1.ApplyOrgRequest) (*obov1.ApplyOrgResponse, error) {
	if err := fault(p.before, "ApplyOrg", r.GetDryRun()); err != nil {
		return nil, err
	}
	out, err := p.applyOrg(r)
	if err != nil {
		return nil, err
	}
	return out, fault(p.after, "ApplyOrg", r.GetDryRun())
}

func (p *plane) applyOrg(r *obov1.ApplyOrgRequest) (*obov1.ApplyOrgResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GetExpectedVersion() != p.version {
		return nil, status.Errorf(codes.Aborted, "version %d is in force", p.version)
	}
	after, err := registry.Parse(r.GetDocument())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	before := registry.Document{}
	if p.version > 0 {
		before, _ = registry.Parse(p.document)
	}
	out := &obov1.ApplyOrgResponse{Version: p.version}
	for _, c := range registry.Diff(before, after) {
		out.Changes = append(out.Changes, &obov1.Change{Path: c.Path, Kind: c.Kind, Before: c.Before, After: c.After})
	}
	if !r.GetDryRun() && len(out.GetChanges()) > 0 {
		p.document, p.version = r.GetDocument(), p.version+1
		out.Version = p.version
	}
	return out, nil
}

func (p *plane) etag() string { return fmt.Sprintf("%q", p.providers) }

func (p *plane) GetProviders(context.Context, *obov1.GetProvidersRequest) (*obov1.GetProvidersResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &obov1.GetProvidersResponse{Providers: p.providers, Etag: p.etag()}, nil
}

func (p *plane) ApplyProviders(_ context.Context, r *obov1.ApplyProvidersRequest) (*obov1.ApplyProvidersResponse, error) {
	if err := fault(p.before, "ApplyProviders", r.GetDryRun()); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GetEtag() != p.etag() {
		return nil, status.Error(codes.Aborted, "another set is in force")
	}
	if !r.GetDryRun() {
		p.providers, p.puts = r.GetProviders(), p.puts+1
	}
	return &obov1.ApplyProvidersResponse{Etag: p.etag()}, nil
}

// meanwhile is what somebody else does to the org.
func (p *plane) meanwhile(t *testing.T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var doc map[string]any
	if err := json.Unmarshal(p.document, &doc); err != nil {
		t.Error(err)
	}
	doc["limits"] = map[string]any{"max_depth": 3}
	p.document, _ = json.Marshal(doc)
	p.version++
}

// desk is a folder with an org's files, of which neither server has the newest, and somebody at a terminal.
type desk struct {
	*plane
	*app
	dir      string
	out, err bytes.Buffer
}

func newDesk(t *testing.T, in io.Reader) *desk {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{dir: t.TempDir(), plane: &plane{version: 4, document: []byte(`{"org":"acme","agents":[{"name":"bot"}]}`)}}
	s := grpc.NewServer()
	obov1.RegisterAdminServiceServer(s, d.plane)
	obov1.RegisterExecutorAdminServiceServer(s, d.plane)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	for name, text := range map[string]string{
		"admin": "operator", "org.yaml": "org: acme\nagents: [{name: bot, owner: ops@acme.example}]\n", "providers/notes.yaml": notesRecord,
	} {
		path := filepath.Join(d.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.app = &app{
		Printer: render.New(&d.out, false, true), in: in, terminal: in != nil, err: &d.err, now: time.Now,
		env: func(string) (string, bool) { return "", false },
		Global: Global{Timeout: 20 * time.Second, STS: l.Addr().String(), Executor: l.Addr().String(),
			AdminTokenFile: filepath.Join(d.dir, "admin")},
	}
	return d
}

const notesRecord = `name: notes
base_url: https://notes.example.com
auth: {api_key: {style: bearer}}
scopes: {"notes:read": Read.}
tools:
  - {name: ping, description: Ping., method: GET, path: /ping, risk: read, scopes: ["notes:read"],
     arguments: {type: object, additionalProperties: false}}
`

func (d *desk) apply(t *testing.T, yes bool) error {
	t.Helper()
	return applyCommand{File: d.dir, Yes: yes}.Run(t.Context(), d.app)
}

// as reports which of the two parts are as the files say.
func (d *desk) as() (org, providers bool) {
	return strings.Contains(string(d.document), "ops@acme.example"), len(d.providers) == 1
}

func (d *desk) expect(t *testing.T, org, providers bool) {
	t.Helper()
	if o, p := d.as(); o != org || p != providers {
		t.Errorf("the org is as the files: %v, want %v; the providers: %v, want %v", o, org, p, providers)
	}
}

// TestConfirm: only a plain yes of somebody at a terminal carries a plan out.
func TestConfirm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   io.Reader
		yes  bool
		done bool
	}{
		{"y", strings.NewReader("y\n"), false, true},
		{"yes", strings.NewReader(" YES \n"), false, true},
		{"no", strings.NewReader("n\n"), false, false},
		{"nothing", strings.NewReader("\n"), false, false},
		{"something else", strings.NewReader("yesterday\n"), false, false},
		{"the end", strings.NewReader(""), false, false},
		{"the end in a word", strings.NewReader("yes"), false, false},
		{"no terminal", nil, false, false},
		{"no terminal, and --yes", nil, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, c.in)
			err := d.apply(t, c.yes)
			if (err == nil) != c.done || err != nil && explain.Of("", err).Code != explain.Usage {
				t.Errorf("%v", err)
			}
			d.expect(t, c.done, c.done)
			if plan := d.err.String(); !strings.Contains(plan, "~ agents/bot") || !strings.Contains(plan, "+ providers/notes.yaml") {
				t.Errorf("shown was %q", plan)
			}
		})
	}
}

// TestSecondApplyDoesNothing: idempotent, and silent on the trail.
func TestSecondApplyDoesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	if err := d.apply(t, true); err != nil {
		t.Fatal(err)
	}
	version, puts := d.version, d.puts
	d.before = func(call string) error {
		if call != "GetOrg" {
			t.Errorf("%s, and there is nothing to do", call)
		}
		return nil
	}
	if err := d.apply(t, false); err != nil || !strings.Contains(d.out.String(), "nothing to do") {
		t.Errorf("%v, %s", err, d.out.String())
	}
	if d.version != version || d.puts != puts {
		t.Error("it was applied again")
	}
}

// atPrompt is somebody who says yes after something has happened.
type atPrompt func()

func (f atPrompt) Read(p []byte) (int, error) {
	f()
	return copy(p, "yes\n"), nil
}

// TestStalePlan: what was shown is what is done, or nothing is.
func TestStalePlan(t *testing.T) {
	t.Parallel()
	at := map[string]func(t *testing.T, d *desk){
		"while it is rehearsed": func(t *testing.T, d *desk) { d.before = once("ApplyOrg dry", func() { d.meanwhile(t) }) },
		"at the prompt":         func(t *testing.T, d *desk) { d.in = atPrompt(func() { d.meanwhile(t) }) },
		"between the servers":   func(t *testing.T, d *desk) { d.before = once("ApplyOrg", func() { d.meanwhile(t) }) },
	}
	for name, change := range at {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, strings.NewReader("yes\n"))
			change(t, d)
			err := d.apply(t, false)
			p := explain.Of("", err)
			if err == nil || p.Code != explain.Refused || !strings.Contains(p.Why, "limits/max_depth") || strings.Contains(p.Why, "notes.yaml") ||
				!strings.Contains(p.Do, "again") {
				t.Errorf("%+v", p)
			}
			d.expect(t, false, false)
			d.in = strings.NewReader("y\n")
			if err := d.apply(t, false); err != nil {
				t.Errorf("a second run: %v", err)
			}
			d.expect(t, true, true)
		})
	}
	t.Run("the providers", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.before = once("ApplyProviders", func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.providers = []*obov1.ProviderFile{{Name: "other.yaml", Text: "x"}}
		})
		if p := explain.Of("", d.apply(t, true)); p.Code != explain.Refused || !strings.Contains(p.Why, "providers/other.yaml") {
			t.Errorf("%+v", p)
		}
		if d.puts != 0 || d.version != 4 {
			t.Error("something was changed")
		}
	})
}

// once is a hook that does something at the first call of a name.
func once(call string, do func()) func(string) error {
	var first sync.Once
	return func(now string) error {
		if now == call {
			first.Do(do)
		}
		return nil
	}
}

// TestAtomic: whichever call fails, and whether or not it took effect, the org is as before or as in the files, or the command says
// which part stands; and another run completes it.
func TestAtomic(t *testing.T) {
	t.Parallel()
	away := status.Error(codes.Unavailable, "away")
	for _, c := range []struct {
		name           string
		before, after  []string // the calls that fail, one after the other
		org, providers bool
		code           int
		says           string
	}{
		{"the executor is away", []string{"ApplyProviders"}, nil, false, false, explain.Unavailable, ""},
		{"the token server is away", []string{"ApplyOrg"}, nil, false, false, explain.Unavailable, ""},
		{"its answer is lost", nil, []string{"ApplyOrg"}, true, true, explain.OK, ""},
		{"and then nothing is heard", []string{"ApplyOrg", "GetOrg"}, nil, false, true, explain.Unavailable, "not known"},
		{"and the executor is away then", []string{"ApplyOrg", "ApplyProviders"}, nil, false, true, explain.Unavailable, "half done"},
		{"the rehearsal fails", []string{"ApplyOrg dry"}, nil, false, false, explain.Unavailable, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, nil)
			d.before, d.after = inTurn(c.before, away), inTurn(c.after, away)
			err := d.apply(t, true)
			p := &explain.Problem{}
			if err != nil {
				p = explain.Of("", err)
			}
			if p.Code != c.code || !strings.Contains(p.What, c.says) {
				t.Errorf("%+v", p)
			}
			d.expect(t, c.org, c.providers)
			d.before, d.after = nil, nil
			if err := d.apply(t, true); err != nil {
				t.Errorf("a second run: %v", err)
			}
			d.expect(t, true, true)
		})
	}
}

// inTurn fails the calls of a list, each once, when the one before it has failed.
func inTurn(calls []string, err error) func(string) error {
	var mu sync.Mutex
	return func(call string) error {
		mu.Lock()
		defer mu.Unlock()
		if len(calls) == 0 || calls[0] != call {
			return nil
		}
		calls = slices.Clone(calls[1:])
		return err
	}
}

// TestDiffOnlyReads: whoever may read an org may see how files differ from it.
func TestDiffOnlyReads(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.before = func(call string) error {
		if call == "GetOrg" {
			return nil
		}
		return status.Error(codes.PermissionDenied, "your role does not allow this")
	}
	err := diffCommand{File: d.dir, ExitCode: true}.Run(t.Context(), d.app)
	if explain.Of("", err).Code != explain.Differs || !strings.Contains(d.out.String(), "~ agents/bot") ||
		!strings.Contains(d.out.String(), "+ providers/notes.yaml") {
		t.Errorf("%v: %s", err, d.out.String())
	}
	d.expect(t, false, false)

	bad := filepath.Join(d.dir, "policies", "bad.cedar")
	if err := errors.Join(os.Mkdir(filepath.Dir(bad), 0o700),
		os.WriteFile(bad, []byte(`@id("x") permit (principal, action, resource) when { context.nothing };`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := (diffCommand{File: d.dir}).Run(t.Context(), d.app); err == nil || !strings.Contains(explain.Of("", err).Why, "bad.cedar") {
		t.Errorf("a policy that does not compile: %v", err)
	}
}

// TestEvery: a list is read to its end, or to its limit, and no further.
func TestEvery(t *testing.T) {
	t.Parallel()
	const all = 2500
	for limit, want := range map[int]int{0: all, 1: 1, 1000: 1000, 1001: 1001, 2500: all, 9999: all} {
		calls := 0
		got, err := every(listFlags{Limit: limit}, func(size int32, token string) (items []int, next string, err error) {
			calls++
			from := 0
			_, _ = fmt.Sscan(token, &from)
			for i := from; i < min(from+int(size), all); i++ {
				items = append(items, i)
			}
			if from+int(size) < all {
				next = fmt.Sprint(from + int(size))
			}
			return items, next, nil
		})
		if err != nil || len(got) != want || got[want-1] != want-1 || calls > want/pageSize+1 {
			t.Errorf("limit %d: %d items in %d calls, %v", limit, len(got), calls, err)
		}
	}
	if _, err := every(listFlags{Limit: -1}, func(int32, string) ([]int, string, error) { return nil, "", nil }); err == nil {
		t.Error("a negative limit was taken")
	}
}
