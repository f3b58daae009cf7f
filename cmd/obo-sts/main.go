// Command obo-sts is the authorization server: it exchanges tokens. It holds the signing keys and never a provider's
// credential, which is obo-executor's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/telemetry"
)

func main() {
	daemon.Program[config.STS]{
		Name:    "obo-sts",
		About:   "Token exchange (RFC 8693) on behalf of users, for AI agents.",
		Load:    config.LoadSTS,
		Serve:   serve,
		KeyFile: keyOf, Sealed: openSealed,
		Folder: daemon.Folder{Key: keyFile, Tokens: []string{adminFile, feedFile}, Config: configFile, Sample: sample},
	}.Main()
}

// gcPercent is GOGC unless the environment has one: what is live is small and an exchange allocates 30 KiB, so that at 100 the
// server would collect, and shrink the stacks that the next exchange grows again, dozens of times a second.
const gcPercent = 400

// keyOf says where the key-encryption key is.
func keyOf(cfg config.STS) daemon.KeyFile {
	return daemon.KeyFile{Path: cfg.KeyFile, Under: cfg.KeyEncryption}
}

// serve opens what the configuration names, builds the server of it, serves until ctx ends, and drains.
func serve(ctx context.Context, cfg config.STS, again daemon.Reloads[config.STS], stderr io.Writer) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	live := &settings{}
	live.level.Set(cfg.Log.SlogLevel())
	log := telemetry.NewLogger(stderr, &live.level, cfg.Log.Format)
	db, err := openEngine(ctx, cfg.Store)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	doors, err := daemon.Listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	defer doors.Close()
	parts, err := build(ctx, cfg, db, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.Finish(ctx, parts.trail.Close)) }()
	srv, err := newServer(cfg, parts, live, doors, log)
	if err != nil {
		return err
	}
	srv.Work["configuration reload"] = func(ctx context.Context) error { return again.Run(ctx, cfg, live.reload, log) }
	log.Info("serving", "version", daemon.Version(), "issuer", cfg.Issuer, "store", db.name, "grpc", doors.GRPC.Addr().String(),
		"http", doors.HTTP.Addr().String(), "tls", doors.TLS != nil, "reflection", cfg.Egress.AllowLoopback)
	err = srv.Run(ctx)
	log.Info("stopped")
	return err
}
