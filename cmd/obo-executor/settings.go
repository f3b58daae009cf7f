package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/feedgrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
)

// settings are what a reload changes while the server runs: the keys of the configuration with reload:"true".
type settings struct {
	level    slog.LevelVar
	guard    *grpcauth.Guard
	follower atomic.Pointer[telemetry.Secret] // its credential
	delay    atomic.Int64
}

// apply puts all of it in force, or returns an error and changes nothing.
func (s *settings) apply(cfg config.Executor) error {
	bearer, err := bearers(cfg)
	if err != nil {
		return err
	}
	follower, err := cfg.Feed.Token()
	if err != nil {
		return err
	}
	if err := s.guard.Replace(bearer); err != nil {
		return err
	}
	s.level.Set(cfg.Log.SlogLevel())
	s.follower.Store(&follower)
	s.delay.Store(int64(cfg.Drain.Delay))
	return nil
}

func (s *settings) drainDelay() time.Duration { return time.Duration(s.delay.Load()) }

// connect opens feeds with the credential of the moment.
func (s *settings) connect(to feedgrpc.Client) func(context.Context) (revocation.Stream, error) {
	return func(ctx context.Context) (revocation.Stream, error) {
		to.Token = *s.follower.Load()
		return to.Connect(ctx)
	}
}
