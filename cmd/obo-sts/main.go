// Command obo-sts is the authorization server: it exchanges tokens. It holds the signing keys and never a provider's
// credential, which is obo-executor's.
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
	Init    initCommand    `cmd:"" help:"Write a key-encryption key, two credentials and a sample configuration to a folder."`
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
	parser := kong.Must(&c, kong.Name("obo-sts"), kong.UsageOnError(),
		kong.Description("Token exchange (RFC 8693) on behalf of users, for AI agents.\n\n"+
			"Example:\n  obo-sts init --dir ./sts\n  obo-sts serve -c ./sts/obo-sts.yaml"))
	parsed, err := parser.Parse(arguments(os.Args[1:]))
	parser.FatalIfErrorf(err)
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "obo-sts:", err)
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
	cfg, err := config.LoadSTS(c.Config)
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

func serve(ctx context.Context, cfg config.STS, log *slog.Logger) (err error) {
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
	parts, err := build(ctx, cfg, db, log)
	if err != nil {
		return err
	}
	srv, err := newServer(cfg, parts, doors, log)
	if err != nil {
		return err
	}
	log.Info("serving", "version", version(), "issuer", cfg.Issuer, "store", db.name, "grpc", doors.grpc.Addr().String(),
		"http", doors.http.Addr().String(), "tls", cfg.Listen.TLS != nil, "reflection", cfg.Egress.AllowLoopback)
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
	_, err := fmt.Println("obo-sts", version())
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
