package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/dev"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/load"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/cmd/obo/internal/sample"
)

type devCommand struct {
	Start devStartCommand `cmd:"" default:"withargs" help:"Start everything and wait for Ctrl-C. The default."`
	Token devTokenCommand `cmd:"" help:"Sign somebody in at the sample OpenID provider and print the ID token."`
}

type devStartCommand struct {
	State    string `placeholder:"DIR" help:"Where to keep keys, databases and the env file. Default: a temporary folder."`
	Postgres string `placeholder:"DSN" help:"A PostgreSQL server, postgres://...; two roles and databases are made on it. 'env' reads OBO_TEST_POSTGRES. Default: SQLite."`
	LogLevel string `enum:"debug,info,warn,error" default:"info" help:"Of the two servers: debug, info, warn or error."`
}

// Help is shown below the flags.
func (devStartCommand) Help() string {
	return `Starts a sample OpenID provider, obo-sts, obo-executor and a sample issue tracker as separate processes, applies two sample
orgs (acme and globex, with an alice in each), and writes DIR/env once everything is healthy. With --state the keys and
databases stay for the next start; ports and client secrets are new each time.

Examples:
  obo dev
  obo dev --state /tmp/obo-dev
  obo dev --state /tmp/obo-dev --postgres postgres://postgres@127.0.0.1:5432/postgres
  obo dev token --user alice --org globex --env /tmp/obo-dev/env`
}

func (c devStartCommand) Run(ctx context.Context, a *app) error {
	e, err := a.startDev(ctx, c.State, c.Postgres, c.LogLevel)
	if err != nil {
		return err
	}
	defer e.Stop()
	answer := map[string]any{"env_file": filepath.Join(e.Dir, "env"), "env": publicVars(e)}
	if err := a.Print(answer, func() { a.showDev(e) }); err != nil {
		return err
	}
	err = e.Wait(ctx)
	if !a.JSON {
		a.Printf("stopping\n")
	}
	return err
}

// startDev starts an environment; without a state directory it is a temporary one.
func (a *app) startDev(ctx context.Context, state, postgres, level string) (*dev.Env, error) {
	dsn, err := a.postgres(postgres)
	if err != nil {
		return nil, err
	}
	temporary := state == ""
	if temporary {
		if state, err = os.MkdirTemp("", "obo-dev-"); err != nil {
			return nil, explain.Failure("cannot make a temporary folder", err, "name one with --state")
		}
	}
	progress := func(step string, took time.Duration) {
		if !a.JSON {
			a.Printf("%s %s\n", a.Dim(took.Round(10*time.Millisecond).String()), step)
		}
	}
	return dev.Start(ctx, dev.Config{
		Dir: state, Temporary: temporary, Postgres: dsn, LogLevel: level, Progress: progress, Now: a.now,
	})
}

// onStderr is the same app, but what it prints is not in the way of a result.
func (a *app) onStderr() *app {
	other := *a
	_, noColor := a.env("NO_COLOR")
	other.Printer = render.New(a.err, a.JSON, noColor)
	return &other
}

// postgres resolves the word env.
func (a *app) postgres(dsn string) (string, error) {
	if dsn != "env" {
		return dsn, nil
	}
	v, ok := a.env("OBO_TEST_POSTGRES")
	if !ok || v == "" {
		return "", explain.Misuse("no PostgreSQL server is known", "--postgres env was given and OBO_TEST_POSTGRES is not set",
			"set it, or run under go run ./store/storetest/pgtest/pgcluster -- ...")
	}
	return v, nil
}

// publicVars are the variables without the secrets.
func publicVars(e *dev.Env) map[string]string {
	out := map[string]string{}
	for _, name := range dev.Names() {
		if !strings.HasSuffix(name, "_SECRET") {
			out[name] = e.Vars[name]
		}
	}
	return out
}

func (a *app) showDev(e *dev.Env) {
	env := filepath.Join(e.Dir, "env")
	a.Printf("\n%s\n\n", a.Green("obo is running on this machine"))
	for _, row := range [][2]string{
		{"issuer", e.Vars["OBO_ISSUER"]}, {"obo-sts", e.Vars["OBO_STS_GRPC"] + " (gRPC)"},
		{"obo-executor", e.Vars["OBO_EXECUTOR_GRPC"] + " (gRPC)"}, {"tracker", e.Vars["OBO_PROVIDER_URL"]},
		{"settings", env}, {"logs", filepath.Join(e.Dir, "log")}, {"sample orgs", filepath.Join(e.Dir, "orgs")},
	} {
		a.Printf("  %-13s %s\n", row[0], row[1])
	}
	a.Printf("\n%s\n", a.Bold("Try, in another terminal:"))
	if _, err := exec.LookPath("obo"); err != nil {
		if exe, err := os.Executable(); err == nil {
			a.Printf("\n  export PATH=\"%s:$PATH\"", filepath.Dir(exe))
		}
	}
	a.Printf(`
  export OBO_ENV=%[1]s/env
  obo demo
  obo exchange --scope "tracker:issues:read tracker:issues:write" > %[1]s/first
  obo exchange --subject-token-file %[1]s/first --to researcher --scope tracker:issues:read > %[1]s/second
  obo token inspect --file %[1]s/second
  obo call tracker.list_issues --args '{"project":"apollo"}' --token-file %[1]s/second
  obo audit list
  obo connect delete alice-tracker   # the next call brings a link at which alice connects her account
  obo revoke agent orchestrator

`, e.Dir)
	a.Printf("Ctrl-C stops everything.\n")
}

type devTokenCommand struct {
	User     string `default:"alice" placeholder:"NAME" help:"Who signs in."`
	Audience string `placeholder:"CLIENT" help:"The application that the ID token is for. Default: the sample one."`
	State    string `placeholder:"DIR" help:"State directory of the running obo dev. Default: where OBO_USER_TOKEN_FILE is."`
}

// Help is shown below the flags.
func (devTokenCommand) Help() string {
	return `Examples:
  obo dev token --user alice --org acme --env /tmp/obo-dev/env
  obo dev token --user bob --org acme --state /tmp/obo-dev`
}

func (c devTokenCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	dir := c.State
	if dir == "" {
		file, ok := a.env("OBO_USER_TOKEN_FILE")
		if !ok {
			return missing("the state directory", "--state", "OBO_USER_TOKEN_FILE")
		}
		dir = filepath.Dir(file)
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	token, err := dev.MintIDToken(ctx, dir, sample.MintRequest{User: c.User, Org: org, Audience: c.Audience})
	if err != nil {
		return explain.Failure("cannot sign "+c.User+" of "+org+" in", err, "is obo dev running there? It knows "+sample.Known())
	}
	return a.Print(map[string]string{"id_token": token.Reveal()}, func() { a.Printf("%s\n", token.Reveal()) })
}

// The hidden commands are processes of obo dev and obo bench.

type devIssuerCommand struct {
	File string `required:"" help:"File with the mint token."`
}

func (c devIssuerCommand) Run(ctx context.Context, a *app) error {
	return dev.ServeIssuer(ctx, c.File, a.W)
}

type devProviderCommand struct {
	File string `required:"" help:"File with the users' API keys."`
}

func (c devProviderCommand) Run(ctx context.Context, a *app) error {
	return dev.ServeProvider(ctx, c.File, a.W)
}

type benchFloorCommand struct{}

func (benchFloorCommand) Run(ctx context.Context, a *app) error { return load.ServeFloor(ctx, a.W) }
