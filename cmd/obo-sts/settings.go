package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/wire/grpcauth"
)

// settings are what a reload changes while the server runs: the keys of the configuration with reload:"true".
type settings struct {
	level    slog.LevelVar
	guard    *grpcauth.Guard
	key      seal.Key // key-encryption key, as all who seal hold it
	sealed   sealed   // under it
	limited  *limiter
	exchange *exchange.Service
	delay    atomic.Int64
}

// lookFor bounds reading the key file, and the look at what is sealed under the key.
const lookFor = 30 * time.Second

// reload reads the key file, and puts all of it in force, or returns an error and changes nothing.
func (s *settings) reload(cfg config.STS) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	key, err := keyOf(cfg).Open(ctx)
	if err != nil {
		return err
	}
	return s.apply(cfg, key)
}

// apply puts all of it in force, or returns an error and changes nothing.
func (s *settings) apply(cfg config.STS, key seal.Key) error {
	bearer, err := bearers(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	if err := daemon.KeyFits(ctx, key, s.sealed.Under); err != nil {
		return err
	}
	if err := s.guard.Replace(bearer); err != nil {
		return err
	}
	if err := s.key.Adopt(key); err != nil {
		return err
	}
	s.level.Set(cfg.Log.SlogLevel())
	s.limited.most.Store(int64(cfg.Limits.MaxConcurrent))
	s.exchange.SetRates(exchange.Rates{Org: cfg.Limits.OrgRate, Client: cfg.Limits.AgentRate})
	s.delay.Store(int64(cfg.Drain.Delay))
	return nil
}

func (s *settings) drainDelay() time.Duration { return time.Duration(s.delay.Load()) }
