package main

import (
	"bufio"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// TestMain lets the test binary be the command.
func TestMain(m *testing.M) {
	if os.Getenv("PGCLUSTER_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

func pgcluster(t *testing.T, server string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, pgtest.Variable+"=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "PGCLUSTER_TEST_MAIN=1")
	if server != "" {
		cmd.Env = append(cmd.Env, pgtest.Variable+"="+server)
	}
	cmd.Stderr = os.Stderr
	return cmd
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--", "true"}, 0},
		{[]string{"--", "sh", "-c", "exit 7"}, 7},
		{[]string{"sh", "-c", `test "$OBO_TEST_POSTGRES" = postgres://there`}, 0},
		{[]string{"--", "sh", "-c", "kill -9 $$"}, 128 + 9},
		{[]string{"--", "/there/is/no/such/command"}, 127},
		{[]string{"--"}, 2},
		{nil, 2},
	} {
		cmd := pgcluster(t, "postgres://there", c.args...)
		cmd.Stderr = nil
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("%q: exit code %d, want %d", c.args, got, c.want)
		}
	}
}

// The cluster ends with the command, and also with the process that watches it, even by SIGKILL: nothing is left behind.
func TestClusterEnds(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"the command ends", "killed"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			cmd := pgcluster(t, "", "--", "sh", "-c", "echo $OBO_TEST_POSTGRES; read -r line; exit 3")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			dsn, err := url.Parse(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			dir := dsn.Query().Get("host")
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the cluster's folder: mode %v, error %v; want 0700", info, err)
			}
			if end == "killed" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			_ = stdin.Close()
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); end != "killed" && code != 3 {
				t.Errorf("exit code %d, want the command's, 3", code)
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is still there", dir)
				}
			}
		})
	}
}
