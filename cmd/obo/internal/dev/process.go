package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// grace is how long a child may take to stop by itself.
const grace = 8 * time.Second

// process is one child. It leads a process group of its own, so that Ctrl-C in a terminal reaches only us and we stop the
// children in order; and on Linux the kernel kills it if we die first.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // its log file
	done chan struct{} // closed once it has exited
	err  error         // how; set before done is closed
}

// spec says what to start.
type spec struct {
	name   string
	path   string
	args   []string
	logDir string
	stdout io.Writer // nil: the log file
}

// start starts a child. The parent-death signal is bound to the thread that forks, not to the process: so one goroutine
// keeps that thread until the child has exited.
func start(s spec) (*process, error) {
	logPath := filepath.Join(s.logDir, s.name+".log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// No context ends a child: stop does, in order and with grace.
	cmd := exec.CommandContext(context.Background(), s.path, s.args...)
	cmd.Stdout, cmd.Stderr = io.Writer(logFile), io.Writer(logFile)
	if s.stdout != nil {
		cmd.Stdout = s.stdout
	}
	cmd.SysProcAttr = ownGroup()
	cmd.WaitDelay = time.Second
	p := &process{name: s.name, cmd: cmd, log: logPath, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer logFile.Close()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", s.path, err)
	}
	return p, nil
}

// exited says how a child ended before its time, with the last lines of its log.
func (p *process) exited() error {
	return fmt.Errorf("%s stopped: %w\n%s", p.name, cause(p.err), p.tail())
}

func cause(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// tail is the end of the child's log.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return "no log: " + err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(data)), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return strings.Join(lines, "\n") + "\n(" + p.log + ")"
}

// stop asks a child to end, and after the grace period ends its whole group.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// runOnce runs a command to its end, with its output in the error.
func runOnce(ctx context.Context, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", path, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
