// Package e2e_test runs the real binaries, as separate processes on loopback, and looks at them from outside.
package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaries is the folder with obo, obo-sts and obo-executor, built once for all tests of this package.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "obo-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../cmd/obo", "../cmd/obo-sts", "../cmd/obo-executor")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the binaries:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
