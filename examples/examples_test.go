package examples_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOrchestratorAndSubagent runs both examples as processes against obo dev, and reads what they say: ACT9, DP4, DP5, RA6.
func TestOrchestratorAndSubagent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator),
		"../cmd/obo", "../cmd/obo-sts", "../cmd/obo-executor", "./orchestrator", "./subagent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	state := filepath.Join(dir, "state")
	dev := start(ctx, t, nil, filepath.Join(dir, "obo"), "dev", "--state", state)
	dev.until(t, "Ctrl-C stops everything.")
	env := settings(t, filepath.Join(state, "env"))

	subagent := start(ctx, t, env, filepath.Join(dir, "subagent"))
	url := subagent.until(t, "http://127.0.0.1:")

	cmd := exec.CommandContext(ctx, filepath.Join(dir, "orchestrator"), "-subagent", url)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"found issue 1 ",
		"handed over, a DPoP token with scope tracker:bounties:award\n",
		`the subagent awarded 20 dollars: {"bounty":20,`,
		"the subagent could not award 21 dollars: rpc error: code = PermissionDenied",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the orchestrator did not say %q:\n%s", want, out)
		}
	}
}

// settings are the lines of obo dev's env file, and nothing of our own environment but what a process needs.
func settings(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return append(strings.Fields(string(data)), "PATH="+os.Getenv("PATH"))
}

// process is a command that runs until the test ends.
type process struct {
	name  string
	lines chan string // of standard output; closed when it ends
}

func start(ctx context.Context, t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{name: filepath.Base(path), lines: make(chan string, 100)}
	go func() {
		defer close(p.lines)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			select {
			case p.lines <- scanner.Text():
			default: // nobody reads any more
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		for range p.lines { // until it has ended
		}
		_ = cmd.Wait()
	})
	return p
}

// until reads lines until one begins with prefix, and returns it.
func (p *process) until(t *testing.T, prefix string) string {
	t.Helper()
	for line := range p.lines {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	t.Fatalf("%s ended and did not say %q", p.name, prefix)
	return ""
}
