package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestREADME runs what the README tells a newcomer to type.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(readme, -1) {
		blocks = append(blocks, string(m[1]))
	}
	if len(blocks) != 3 {
		t.Fatalf("the README has %d blocks of commands, and this test knows of 3", len(blocks))
	}

	// The first block is what CI runs, word for word.
	ci, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for command := range strings.Lines(blocks[0]) {
		if !strings.Contains(string(ci), "\nstep "+command) {
			t.Errorf("CI does not run %q", command)
		}
	}

	// The second starts the environment (make build made the binaries that this package built for itself).
	state := filepath.Join(t.TempDir(), "state")
	local := strings.NewReplacer("bin/obo", filepath.Join(binaries, "obo"), "/tmp/obo-dev", state)
	command, ok := strings.CutPrefix(blocks[1], "make build\n")
	if !ok {
		t.Errorf("the second block does not begin with make build: %s", blocks[1])
	}
	dev := exec.Command("bash", "-c", "exec "+local.Replace(command))
	dev.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	dev.Stdout, dev.Stderr = &out, &out
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- dev.Wait() }()
	awaitFile(t, filepath.Join(state, "env"), done, &out)
	if len(processesNaming(t, state)) == 0 {
		t.Error("no process names the state folder: what is left behind would not be found")
	}

	// The third uses it.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	story := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", local.Replace(blocks[2]))
	text, err := story.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, want := range []string{"agent:acme/researcher", "Program alarm 1202", "succeeded"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the commands did not print %q:\n%s", want, text)
		}
	}

	// Ctrl-C ends it, with nothing left behind.
	if err := dev.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("obo dev ended with %v:\n%s", err, &out)
		}
	case <-time.After(20 * time.Second):
		t.Error("obo dev did not end within 20 s of Ctrl-C")
	}
	if left := processesNaming(t, state); len(left) > 0 {
		t.Errorf("processes are left behind: %q", left)
	}
}

// processesNaming are the command lines of running processes that name a folder.
func processesNaming(t *testing.T, folder string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("cannot list processes: %v", err)
	}
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), folder) { // it may just have ended
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func awaitFile(t *testing.T, name string, done <-chan error, out *strings.Builder) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("obo dev ended: %v\n%s", err, out)
		default:
		}
		if _, err := os.Stat(name); err == nil {
			return
		}
	}
	t.Fatalf("no %s after a minute", name)
}

// TestDemo: the whole story checks itself, and prints what the reader came for.
func TestDemo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	text, err := exec.CommandContext(ctx, filepath.Join(binaries, "obo"), "demo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, want := range []string{
		"└─ agent:acme/researcher", "policy org/researchers-behind-an-orchestrator", "policy org/write-in-open-projects",
		"what is refused", "audit trail", "the revocation",
	} {
		if !strings.Contains(strings.ToLower(string(text)), strings.ToLower(want)) {
			t.Errorf("the demo did not print %q:\n%s", want, text)
		}
	}
}
