// Command obo-executor spends delegation tokens: it makes provider calls with credentials that no agent ever holds. It holds
// those credentials and never a signing key, which is obo-sts's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/telemetry"
)

type commands struct {
	Serve   serveCommand   `cmd:"" default:"withargs" help:"Serve until SIGTERM or SIGINT; then drain. The default command."`
	Init    initCommand    `cmd:"" help:"Write a key-encryption key, a credential and a sample configuration to a folder."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

type serveCommand struct {
	Config      string `short:"c" required:"" placeholder:"FILE" help:"Configuration (YAML)."`
	CheckConfig bool   `help:"Read and check the configuration and the files that it names, and exit."`
}

type initCommand struct {
	Dir string `required:"" placeholder:"DIR" help:"Folder to write to; made when it is missing. Nothing in it is overwritten."`
}

type versionCommand struct{}

func main() {
	var c commands
	parser := kong.Must(&c, kong.Name("obo-executor"), kong.UsageOnError(),
		kong.Description("Provider calls on behalf of users, for AI agents.\n\n"+
			"Example:\n  obo-executor init --dir ./executor\n  obo-executor serve -c ./executor/obo-executor.yaml"))
	parsed, err := parser.Parse(arguments(os.Args[1:]))
	parser.FatalIfErrorf(err)
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "obo-executor:", err)
		os.Exit(1)
	}
}

// arguments lets -check-config be written with one hyphen, as Go programs do.
func arguments(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "-check-config" {
			a = "--check-config"
		}
		out[i] = a
	}
	return out
}

// Run reads the configuration, opens what it names, builds the server of it, serves, and drains.
func (c serveCommand) Run() error {
	cfg, err := config.LoadExecutor(c.Config)
	if err != nil {
		return err
	}
	if c.CheckConfig {
		fmt.Println(c.Config, "is valid")
		return nil
	}
	log, err := logger(os.Stderr, cfg.Log)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return serve(ctx, cfg, log)
}

func serve(ctx context.Context, cfg config.Executor, log *slog.Logger) (err error) {
	db, err := openEngine(ctx, cfg.Store)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	doors, err := listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	defer doors.close()
	parts, err := build(cfg, db, log)
	if err != nil {
		return err
	}
	defer parts.feed.Close()
	srv, err := newServer(cfg, parts, doors, log)
	if err != nil {
		return err
	}
	log.Info("serving", "version", version(), "audience", cfg.Audience, "issuer", cfg.Issuer, "store", db.name,
		"grpc", doors.grpc.Addr().String(), "http", doors.http.Addr().String(), "tls", cfg.Listen.TLS != nil,
		"loopback providers", cfg.Egress.AllowLoopback)
	err = srv.run(ctx)
	log.Info("stopped")
	return err
}

func logger(w io.Writer, cfg config.Log) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, err
	}
	return telemetry.NewLogger(w, level, cfg.Format), nil
}

// Run prints the version.
func (versionCommand) Run() error {
	_, err := fmt.Println("obo-executor", version())
	return err
}

// version is that of the module, with the commit when it was built from one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " " + info.GoVersion
}
