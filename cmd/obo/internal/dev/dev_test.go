package dev

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func full() map[string]string {
	env := map[string]string{}
	for _, name := range Names() {
		env[name] = "value-of." + name
	}
	return env
}

func TestEnvFileIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "env")
	if err := writeEnv(path, full()); err != nil {
		t.Fatal(err)
	}
	got, err := ReadEnv(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if got[name] != "value-of."+name {
			t.Errorf("%s is %q", name, got[name])
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: it holds client secrets", info.Mode(), err)
	}
}

// A shell reads the file too: no value may need quotes, none may be missing.
func TestEnvFileRefusesWhatAShellWouldMisread(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "env")
	for _, value := range []string{"a b", "$(reboot)", "a;b", "a'b", "a\nb", "`x`", "*", "(", "&"} {
		env := full()
		env["OBO_ORG"] = value
		if err := writeEnv(path, env); err == nil {
			t.Errorf("%q was written", value)
		}
	}
	env := full()
	delete(env, "OBO_ISSUER")
	if err := writeEnv(path, env); err == nil || !strings.Contains(err.Error(), "OBO_ISSUER") {
		t.Errorf("a missing name: %v", err)
	}
}

func TestReadEnvNamesTheLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte("# one\nA=1\n\nexport B=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEnv(path); err == nil || !strings.Contains(err.Error(), ":4:") {
		t.Errorf("got %v", err)
	}
}

func TestChildIsStoppedAndItsEndIsExplained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, err := start(spec{name: "sleeper", path: "/bin/sh", args: []string{"-c", "echo ready; exec sleep 60"}, logDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// It leads a group of its own: Ctrl-C in the terminal must not reach it before us.
	if group, err := syscall.Getpgid(p.cmd.Process.Pid); err != nil || group != p.cmd.Process.Pid {
		t.Errorf("process group %d, %v", group, err)
	}
	begin := time.Now()
	p.stop()
	if took := time.Since(begin); took > grace {
		t.Errorf("took %v", took)
	}
	failing, err := start(spec{name: "failing", path: "/bin/sh", args: []string{"-c", "echo why it failed >&2; exit 3"}, logDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	<-failing.done
	if text := failing.exited().Error(); !strings.Contains(text, "why it failed") || !strings.Contains(text, "exit status 3") {
		t.Errorf("got %s", text)
	}
	if _, err := start(spec{name: "none", path: "/nonexistent", logDir: dir}); err == nil {
		t.Error("started a program that is not there")
	}
}

func TestOnlyOneEnvironmentInADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := &Env{Dir: dir}
	if err := first.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, envFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second := &Env{Dir: dir}
	if err := second.prepare(t.Context()); err == nil {
		t.Fatal("two environments in one directory")
	}
	second.Stop()
	if _, err := os.Stat(filepath.Join(dir, envFile)); err != nil {
		t.Error("the second took the first's env file away")
	}
	first.Stop()
	if _, err := os.Stat(filepath.Join(dir, envFile)); err == nil {
		t.Error("an env file of nobody is left")
	}
}
