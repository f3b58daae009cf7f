// Package dev runs everything on this machine, on loopback: a sample OpenID provider, obo-sts, obo-executor and a sample
// issue tracker, each a process of its own, with two sample orgs applied.
package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/telemetry"
)

// Config says how to run.
type Config struct {
	Dir       string // state; made when it is missing
	Temporary bool   // drop the state at the end, databases included
	Postgres  string // DSN of a server for the two databases; empty for SQLite in Dir
	LogLevel  string // of the servers
	Progress  func(step string, took time.Duration)
	Now       func() time.Time
}

// Env is a running environment.
type Env struct {
	Dir  string
	Vars map[string]string // what Dir/env says

	config   Config
	children []*process // in the order of their start
	failed   chan *process
	urls     map[string]chan string // by variable: where a sample says that it listens
	lock     *os.File
	database *databases
	once     sync.Once
}

// local is what a state directory remembers beside the contract, for `obo dev token` and `obo bench idle`.
type local struct {
	Issuer string         `json:"issuer"` // of the ID tokens
	PIDs   map[string]int `json:"pids"`
}

// names of files in the state directory.
const (
	envFile   = "env"
	localFile = "dev.json"
	mintFile  = "mint.token"
)

// Start starts everything and returns when all of it is healthy and the sample orgs are in force. On an error everything
// that was started has been stopped.
func Start(ctx context.Context, c Config) (*Env, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	if !plain.MatchString(dir) {
		return nil, explain.Misuse("cannot use the state directory "+dir, "a shell would have to quote its name",
			"choose one of letters, digits and ./_-")
	}
	c.Dir = dir
	e := &Env{Dir: dir, Vars: map[string]string{}, config: c, failed: make(chan *process, 8),
		urls: map[string]chan string{}}
	if err := e.start(ctx); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// start does it step by step; what a step needs, an earlier one has put into Vars.
func (e *Env) start(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"prepare the state directory", e.prepare},
		{"start the OpenID provider and the issue tracker", e.startSamples},
		{"make keys, credentials and databases", e.makeState},
		{"start obo-sts", e.startSTS},
		{"start obo-executor", e.startExecutor},
		{"wait for the OpenID provider and the issue tracker", e.awaitSamples},
		{"apply the sample orgs", e.applyOrgs},
		{"hand out secrets, store alice's API keys", e.handOut},
		{"wait until a call goes all the way", e.awaitReady},
		{"write the env file", e.writeFiles},
	}
	for _, s := range steps {
		begin := time.Now()
		if err := e.whileAlive(ctx, s.do); err != nil {
			return explain.Of("cannot "+s.name, err)
		}
		e.config.Progress(s.name, time.Since(begin))
	}
	return nil
}

// whileAlive does a step, and gives up at once when a child dies meanwhile.
func (e *Env) whileAlive(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = step(ctx)
	}()
	select {
	case <-done:
		if err == nil {
			return nil
		}
		select {
		case p := <-e.failed: // the step failed because somebody died: that is the better reason
			return p.exited()
		case <-time.After(50 * time.Millisecond):
			return err
		}
	case p := <-e.failed:
		cancel()
		<-done
		return p.exited()
	}
}

// prepare makes the directory and takes its lock: two environments in one directory would write over each other.
func (e *Env) prepare(context.Context) error {
	for _, d := range []string{e.Dir, e.path("log"), e.path("keys"), e.path("orgs")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(e.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return explain.Failure("the state directory "+e.Dir+" is in use", errors.New("another obo dev runs in it"),
			"stop that one, or choose another --state")
	}
	e.lock = lock // from here on the directory is ours, to clean up too
	// What an earlier run may have left, had it been killed: whoever waits for the env file must not see its.
	return errors.Join(removed(e.path(envFile)), removed(e.path(localFile)))
}

func (e *Env) path(elem ...string) string { return filepath.Join(append([]string{e.Dir}, elem...)...) }

// run starts a child and watches it.
func (e *Env) run(s spec) (*process, error) {
	s.logDir = e.path("log")
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	e.children = append(e.children, p)
	go func() {
		<-p.done
		e.failed <- p
	}()
	return p, nil
}

// Wait waits until ctx ends, which is no error, or until a child dies, which is.
func (e *Env) Wait(ctx context.Context) error {
	refresh := time.NewTicker(15 * time.Second)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-e.failed:
			return explain.Of("the environment broke down", p.exited())
		case <-refresh.C: // keep the user's token fresh: one that is older than a revocation of an agent starts nothing
			if err := e.writeUserToken(ctx); err != nil {
				return explain.Of("cannot refresh the user's token", err)
			}
		}
	}
}

// Stop stops the children, last started first, each within its grace period, and drops what was temporary.
func (e *Env) Stop() {
	e.once.Do(func() {
		for _, p := range slices.Backward(e.children) {
			p.stop()
		}
		if e.database != nil && e.config.Temporary {
			e.database.drop()
		}
		if e.lock == nil {
			return // the directory is somebody else's
		}
		// Whoever still reads these would talk to nobody.
		_ = removed(e.path(envFile))
		_ = removed(e.path(localFile))
		_ = e.lock.Close()
		if e.config.Temporary {
			_ = os.RemoveAll(e.Dir)
		}
	})
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// secret reads a credential of the state directory.
func (e *Env) secret(elem ...string) (telemetry.Secret, error) {
	data, err := os.ReadFile(e.path(elem...))
	if err != nil {
		return "", err
	}
	return telemetry.Secret(trim(data)), nil
}

// keep returns the content of a secret file, and makes it with 256 random bits when it is missing.
func (e *Env) keep(elem ...string) (telemetry.Secret, error) {
	s, err := e.secret(elem...)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s = randomSecret()
	return s, writeFile(e.path(elem...), []byte(s.Reveal()+"\n"))
}

// tag tells this state directory's databases from those of others.
func tag(s telemetry.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:6])
}

// readLocal reads what a state directory remembers.
func readLocal(dir string) (local, error) {
	var l local
	data, err := os.ReadFile(filepath.Join(dir, localFile))
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("%s: %w", filepath.Join(dir, localFile), err)
	}
	return l, nil
}
