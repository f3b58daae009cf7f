package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/dev"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/load"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
)

type benchCommand struct {
	Table      benchTableCommand      `cmd:"" default:"withargs" help:"Measure exchanges against the floor, idle memory and revocation. The default."`
	Revocation benchRevocationCommand `cmd:"" help:"Measure only how soon a revoked token is refused."`
}

type benchFlags struct {
	Postgres string `placeholder:"DSN" help:"Measure on this PostgreSQL server too; 'env' reads OBO_TEST_POSTGRES."`
	Running  bool   `help:"Load the servers that OBO_* names, and start none."`
}

type benchTableCommand struct {
	benchFlags
	Workers     int           `default:"128" help:"Concurrent callers."`
	Connections int           `default:"2" help:"gRPC connections that they share."`
	Rounds      int           `default:"3" help:"Rounds for each row; the median counts."`
	Duration    time.Duration `default:"2s" help:"Of one measurement; each round makes two."`
	OpenRate    float64       `placeholder:"N" help:"First hops a second in the open loop. Default: half of what the closed loop reached."`
	Revocations int           `default:"50" help:"Rounds of revoke-to-refusal; 0 for none."`
}

// Help is shown below the flags.
func (benchTableCommand) Help() string {
	return `Each row is measured in alternation with a floor: a bare gRPC server, a process of its own, that takes the same message from
the same client and answers with one ES256 signature. It authenticates nobody, decides nothing and records nothing. The
share of the floor's rate is what to compare between machines. The open loop sends at a fixed rate and counts latency from
the moment when a request was due (coordinated omission).

Examples:
  obo bench
  obo bench --postgres postgres://postgres@127.0.0.1/postgres --rounds 5
  obo bench --running --env /tmp/obo-dev/env --workers 16 -o json`
}

type benchRevocationCommand struct {
	benchFlags
	Rounds    int   `default:"100" help:"How many tokens to revoke at an executor."`
	Followers []int `default:"1,10,100,1000" placeholder:"N,..." help:"Numbers of followers to measure with, spread over two replicas on PostgreSQL."`
	Entries   int   `default:"1000000" help:"Live entries of the set whose memory and checks are measured."`
}

// Help is shown below the flags.
func (benchRevocationCommand) Help() string {
	return `Three things: how soon an executor refuses a revoked token, over gRPC; how soon followers in this process do, each with a
stream and a set of its own, counted from when the operator's request was sent; and what a set with many entries costs. Servers
and followers share this machine.

Examples:
  obo bench revocation
  obo bench revocation --postgres postgres://postgres@127.0.0.1/postgres --followers 100`
}

// report is what a bench found.
type report struct {
	CPUs       int               `json:"cpus"`
	Workers    int               `json:"workers"`
	Rows       []load.Row        `json:"rows,omitempty"`
	Idle       []idleRow         `json:"idle,omitempty"`
	Revocation []storeRevocation `json:"revocation,omitempty"`
	Followers  []storeFollowers  `json:"followers,omitempty"`
	Set        *load.SetRow      `json:"set,omitempty"`
}

type storeFollowers struct {
	Store string `json:"store"`
	load.CrowdRow
}

type idleRow struct {
	Store string  `json:"store"`
	MiB   float64 `json:"rss_mib"`
}

type storeRevocation struct {
	Store string `json:"store"`
	load.RevocationRow
}

// bed is one environment to measure.
type bed struct {
	store    string
	setup    load.Setup
	executor string
	org      string
	stsPID   int      // 0: not ours
	env      *dev.Env // nil: not ours
}

func (c benchTableCommand) Run(ctx context.Context, a *app) error {
	r := report{CPUs: cpus(), Workers: c.Workers}
	err := a.eachBed(ctx, c.benchFlags, func(b bed) error {
		b.setup.Workers, b.setup.Connections = c.Workers, c.Connections
		return c.measure(ctx, a, b, &r)
	})
	if err != nil {
		return err
	}
	return a.Print(r, func() { a.showReport(r) })
}

func (c benchTableCommand) measure(ctx context.Context, a *app, b bed, r *report) error {
	if b.stsPID != 0 {
		mib, err := load.RSS(b.stsPID)
		if err == nil {
			r.Idle = append(r.Idle, idleRow{b.store, mib})
		}
	}
	sts, err := load.Connect(b.setup, b.setup.STS)
	if err != nil {
		return err
	}
	defer sts.Close()
	sts.PID = b.stsPID
	floor, stop, err := startFloor(ctx, b.setup)
	if err != nil {
		return explain.Failure("cannot start the floor", err, "")
	}
	defer stop()
	plan := load.Plan{Rounds: c.Rounds, Duration: c.Duration, Progress: a.progress(b.store)}
	first := 0.0
	for _, door := range []string{"grpc", "http"} {
		for _, k := range load.Kinds() {
			if door == "http" && k != load.First {
				continue // one row shows what the other door costs
			}
			row, err := load.Compare(ctx, b.setup, sts, floor, door, k, plan)
			if err != nil {
				return explain.Of("the measurement failed", err)
			}
			row.Store = b.store
			r.Rows = append(r.Rows, row)
			if first == 0 {
				first = row.Rate
			}
		}
	}
	rate := c.OpenRate
	if rate == 0 {
		rate = first / 2
	}
	open := plan
	open.Duration = time.Duration(c.Rounds) * c.Duration
	row, err := load.OpenRow(ctx, b.setup, sts, rate, open)
	if err != nil {
		return explain.Of("the measurement failed", err)
	}
	row.Store = b.store
	r.Rows = append(r.Rows, row)
	return a.revocationRow(ctx, b, c.Revocations, r)
}

func (a *app) revocationRow(ctx context.Context, b bed, rounds int, r *report) error {
	if rounds == 0 {
		return nil
	}
	a.progress(b.store)(fmt.Sprintf("revoke to refusal, %d times", rounds))
	token, err := a.operatorToken()
	if err != nil {
		return err
	}
	b.setup.Workers, b.setup.Connections = 1, 1
	row, err := load.Revocation(ctx, b.setup, b.executor, b.org, token, rounds)
	if err != nil {
		return explain.Of("the measurement of revocation failed", err)
	}
	r.Revocation = append(r.Revocation, storeRevocation{b.store, row})
	return nil
}

func (c benchRevocationCommand) Run(ctx context.Context, a *app) error {
	r := report{CPUs: cpus(), Workers: 1}
	a.progress("set")(fmt.Sprintf("%d entries", c.Entries)) // first: what follows leaves garbage that would hide its memory
	set, err := load.Set(c.Entries)
	if err != nil {
		return explain.Of("the measurement of a set failed", err)
	}
	r.Set = &set
	if err := a.eachBed(ctx, c.benchFlags, func(b bed) error {
		if err := a.revocationRow(ctx, b, c.Rounds, &r); err != nil {
			return err
		}
		return c.crowd(ctx, a, b, &r)
	}); err != nil {
		return err
	}
	return a.Print(r, func() {
		a.showRevocation(r)
		a.showCrowd(r)
	})
}

// crowd measures followers, on two replicas where the store allows it.
func (c benchRevocationCommand) crowd(ctx context.Context, a *app, b bed, r *report) error {
	operator, err := a.operatorToken()
	if err != nil {
		return err
	}
	crowd := load.Crowd{STS: []string{a.STS}, Org: b.org, Operator: operator, Rounds: 20,
		FeedFile: filepath.Join(filepath.Dir(a.AdminTokenFile), "feed.token")}
	if b.env != nil && b.store == "postgres" {
		replica, err := b.env.StartReplica(ctx)
		if err != nil {
			return explain.Of("cannot start a second replica", err)
		}
		crowd.STS = append(crowd.STS, replica)
	}
	for _, n := range c.Followers {
		a.progress(b.store)(fmt.Sprintf("revoke to refusal, %d followers", n))
		row, err := crowd.Follow(ctx, n)
		if err != nil {
			return explain.Of("the measurement of followers failed", err)
		}
		r.Followers = append(r.Followers, storeFollowers{b.store, row})
	}
	return nil
}

// progress writes what is being done to standard error, where it is not in the way of the table.
func (a *app) progress(store string) func(string) {
	return func(what string) { fmt.Fprintf(a.err, "%s: %s\n", store, what) }
}

// eachBed runs f on the running environment, or on new ones: SQLite, and PostgreSQL when there is a server.
func (a *app) eachBed(ctx context.Context, c benchFlags, f func(bed) error) error {
	if c.Running {
		b, err := a.bed("running")
		if err != nil {
			return err
		}
		return f(b)
	}
	stores := []struct{ name, dsn string }{{"sqlite", ""}}
	if c.Postgres != "" {
		stores = append(stores, struct{ name, dsn string }{"postgres", c.Postgres})
	}
	for _, s := range stores {
		if err := a.onNew(ctx, s.name, s.dsn, f); err != nil {
			return err
		}
	}
	return nil
}

// onNew runs f on a new environment.
func (a *app) onNew(ctx context.Context, store, dsn string, f func(bed) error) error {
	e, err := a.onStderr().startDev(ctx, "", dsn, "info")
	if err != nil {
		return err
	}
	defer e.Stop()
	inner := *a
	inner.adopt(e.Vars)
	b, err := inner.bed(store)
	if err != nil {
		return err
	}
	b.env = e
	*a = inner
	return f(b)
}

// bed reads an environment from the variables.
func (a *app) bed(store string) (bed, error) {
	b := bed{store: store, executor: a.Executor}
	if file, ok := a.env("OBO_USER_TOKEN_FILE"); ok {
		b.stsPID = dev.PID(filepath.Dir(file), "obo-sts")
	}
	var err error
	if b.org, err = a.org(); err != nil {
		return b, err
	}
	get := func(name string) string { v, _ := a.env(name); return v }
	for _, name := range []string{"OBO_ORCHESTRATOR_ID", "OBO_ORCHESTRATOR_SECRET", "OBO_RESEARCHER_ID", "OBO_RESEARCHER_KEY",
		"OBO_USER_TOKEN_FILE", "OBO_EXECUTOR_AUDIENCE"} {
		if get(name) == "" {
			return b, explain.Misuse("nothing to measure", name+" is not set", "leave --running out, or give --env FILE of an obo dev")
		}
	}
	user, err := remote.ReadSecret(get("OBO_USER_TOKEN_FILE"), nil)
	if err != nil {
		return b, err
	}
	key, err := remote.ReadKey(get("OBO_RESEARCHER_KEY"))
	if err != nil {
		return b, err
	}
	prover, err := remote.NewProver(a.now)
	if err != nil {
		return b, err
	}
	b.setup = load.Setup{Prover: prover, STS: a.STS, Issuer: a.Issuer, Audience: get("OBO_EXECUTOR_AUDIENCE"),
		ClientID: get("OBO_ORCHESTRATOR_ID"), ClientSecret: secretOf(get("OBO_ORCHESTRATOR_SECRET")), UserToken: user,
		ActorID: get("OBO_RESEARCHER_ID"), ActorKey: key, Workers: 1, Connections: 1}
	return b, nil
}

// startFloor starts the floor's process and connects to it.
func startFloor(ctx context.Context, setup load.Setup) (target *load.Target, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, self, "bench-floor")
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	stop = func() {
		if target != nil {
			target.Close()
		}
		cancel()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		target, err = load.Connect(setup, strings.TrimSpace(line))
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	target.PID = cmd.Process.Pid
	return target, stop, nil
}
