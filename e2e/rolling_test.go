//go:build slow

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// TestRollingRestart: GR8. One replica after the other is restarted under load, and no exchange fails, over either door.
func TestRollingRestart(t *testing.T) {
	w := newWorld(t, options{stsStore: pgtest.DSN(t), replica: true, noExecutor: true, sts: "drain: {delay: 2s}\n"})
	w.apply(t, "acme")
	l := w.startLoad(t)
	l.more(t, 50)
	for _, r := range []struct {
		p    *process
		grpc string
	}{{w.sts, w.stsAddr}, {w.second, w.address2}, {w.sts, w.stsAddr}} {
		r.p.stop(t)
		l.more(t, 50)
		r.p.start(t)
		r.p.await(t, r.grpc)
		l.more(t, 50)
	}
	l.report(t)
}

// TestRollingKey: both servers' key-encryption keys are replaced under load, with no restart: no exchange and no call fails, and what
// the old keys sealed is sealed by nobody's key but the new ones.
func TestRollingKey(t *testing.T) {
	w := newWorld(t, options{stsStore: pgtest.DSN(t), execStore: pgtest.DSN(t), replica: true})
	w.apply(t, "acme")
	l := w.startLoad(t)
	l.more(t, 50)
	called := func() {
		t.Helper()
		first, err := w.first(t.Context(), obov1.NewExchangeServiceClient(dial(t, w.stsAddr)), "acme", w.idp.idToken(t, "acme"), "tracker:issues:read")
		if err != nil {
			t.Fatal(err)
		}
		executor := obov1.NewExecutorServiceClient(dial(t, w.execAddr))
		w.awaitPolicy(t, executor, first.GetAccessToken())
		if _, err := executor.Execute(bearer(t.Context(), first.GetAccessToken()),
			&obov1.ExecuteRequest{Tool: "tracker.list_issues", Arguments: `{"project":"apollo"}`}); err != nil {
			t.Errorf("a call: %v", err)
		}
	}
	type key struct {
		ID     string
		Seals  bool
		Values int
	}
	run := func(p *process, args ...string) []key {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), p.binary, append(append([]string{"key"}, args...), "-c", p.config, "--output", "json")...)
		var failure strings.Builder
		cmd.Stderr = &failure
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, failure.String())
		}
		var out struct{ Keys []key }
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return out.Keys
	}
	for _, servers := range [][]*process{{w.sts, w.second}, {w.executor}} {
		reload := func() {
			t.Helper()
			for _, p := range servers {
				p.reload(t)
				l.more(t, 20)
				called()
			}
		}
		p := servers[0]
		before := run(p, "list")
		if len(before) != 1 || before[0].Values == 0 {
			t.Fatalf("%s: %+v", p.binary, before)
		}
		next := run(p, "add")[1].ID
		reload()
		run(p, "promote", next)
		reload()
		if got := run(p, "reseal"); got[0].ID != next || got[0].Values < before[0].Values || got[1].Values != 0 {
			t.Fatalf("%s: %+v", p.binary, got)
		}
		called()
		if got := run(p, "drop", before[0].ID); len(got) != 1 || got[0].ID != next {
			t.Fatalf("%s: %+v", p.binary, got)
		}
		reload()
	}
	l.report(t)
	for _, p := range []*process{w.sts, w.executor} { // what is stored opens with what is in the file
		p.stop(t)
		p.start(t)
	}
	w.sts.await(t, w.stsAddr)
	w.executor.await(t, w.execAddr)
	called()
}

// reload sends SIGHUP and waits until the server says that it has reloaded.
func (p *process) reload(t *testing.T) {
	t.Helper()
	before, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.pid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(p.log)
		if err != nil {
			t.Fatal(err)
		}
		switch said := string(text[len(before):]); {
		case strings.Contains(said, "configuration reloaded"):
			return
		case strings.Contains(said, "was not reloaded"):
			t.Fatalf("%s: %s", p.binary, said)
		}
	}
	t.Fatalf("%s did not reload", p.binary)
}
