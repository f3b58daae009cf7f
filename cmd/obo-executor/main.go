// Command obo-executor spends delegation tokens: it makes provider calls with credentials that no agent ever holds. It holds
// those credentials and never a signing key, which is obo-sts's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/telemetry"
)

func main() { program().Main() }

func program() daemon.Program[config.Executor] {
	return daemon.Program[config.Executor]{
		Name:  "obo-executor",
		About: "Provider calls on behalf of users, for AI agents.",
		Load:  config.LoadExecutor,
		Serve: serve, KeyFile: keyOf, Sealed: openSealed,
		Folder: daemon.Folder{
			Key: keyFile, Tokens: []string{adminFile}, Config: configFile, Sample: sample,
			Before: "copy the feed.token of obo-sts there, then ",
		},
	}
}

// keyOf says where the key-encryption key is.
func keyOf(cfg config.Executor) daemon.KeyFile {
	return daemon.KeyFile{Path: cfg.KeyFile, Under: cfg.KeyEncryption}
}

// serve opens what the configuration names, builds the server of it, serves until ctx ends, and drains.
func serve(ctx context.Context, cfg config.Executor, again daemon.Reloads[config.Executor], stderr io.Writer) (err error) {
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
	parts, err := build(ctx, cfg, db, live, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.Finish(ctx, parts.trail.Close)) }()
	srv, err := newServer(cfg, parts, live, doors, log)
	if err != nil {
		return err
	}
	srv.Work["configuration reload"] = func(ctx context.Context) error { return again.Run(ctx, cfg, live.reload, log) }
	log.Info("serving", "version", daemon.Version(), "audience", cfg.Audience, "issuer", cfg.Issuer, "store", db.name,
		"grpc", doors.GRPC.Addr().String(), "http", doors.HTTP.Addr().String(), "tls", doors.TLS != nil,
		"loopback providers", cfg.Egress.AllowLoopback)
	err = srv.Run(ctx)
	log.Info("stopped")
	return err
}
