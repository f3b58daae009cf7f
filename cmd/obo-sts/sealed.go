package main

import (
	"context"
	"fmt"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/seal"
)

// sealed is what a token server keeps under its key-encryption key: signing keys, and the credentials of polled streams.
type sealed struct{ engine }

func openSealed(ctx context.Context, cfg config.STS) (daemon.Sealed, error) {
	db, err := openEngine(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return sealed{db}, nil
}

// Under implements daemon.Sealed.
func (s sealed) Under(ctx context.Context) (map[seal.ID]int, error) {
	out, err := keys.SealedUnder(ctx, s.engine)
	if err != nil {
		return nil, err
	}
	orgs, err := s.Orgs(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range orgs {
		credentials, err := s.org(id).SignalCredentials(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range credentials {
			under, err := seal.Under(c.Sealed)
			if err != nil {
				return nil, fmt.Errorf("credential of stream %s of org %s: %w", c.Stream, id, err)
			}
			out[under]++
		}
	}
	return out, nil
}

// Reseal implements daemon.Sealed.
func (s sealed) Reseal(ctx context.Context, kek seal.Key, done func(more int)) error {
	n, err := keys.Reseal(ctx, s.engine, kek)
	if err != nil {
		return err
	}
	done(n)
	orgs, err := s.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, id := range orgs {
		n, err := signals.Reseal(ctx, s.org(id), kek, id)
		if err != nil {
			return err
		}
		done(n)
	}
	return nil
}
