package main

import (
	"context"
	"fmt"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/vault"
)

// sealed is what an executor keeps under its key-encryption key: the data key of each org.
type sealed struct{ engine }

func openSealed(ctx context.Context, cfg config.Executor) (daemon.Sealed, error) {
	db, err := openEngine(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return sealed{db}, nil
}

// Under implements daemon.Sealed.
func (s sealed) Under(ctx context.Context) (map[seal.ID]int, error) {
	orgs, err := s.Orgs(ctx)
	if err != nil {
		return nil, err
	}
	out := map[seal.ID]int{}
	for _, id := range orgs {
		under, ok, err := vault.SealedUnder(ctx, s.org(id))
		if err != nil {
			return nil, fmt.Errorf("org %s: %w", id, err)
		}
		if ok {
			out[under]++
		}
	}
	return out, nil
}

// Reseal implements daemon.Sealed.
func (s sealed) Reseal(ctx context.Context, kek seal.Key, done func(more int)) error {
	orgs, err := s.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, id := range orgs {
		again, err := vault.Reseal(ctx, s.org(id), kek, id)
		if err != nil {
			return err
		}
		if again {
			done(1)
		}
	}
	return nil
}
