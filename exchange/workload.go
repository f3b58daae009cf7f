package exchange

import (
	"context"
	"time"

	"github.com/onbehalf/obo/exchange/registry"
)

// workloadActor finds the agent that an actor_token of a workload issuer or a SPIFFE trust domain proves (WI6). ok is false
// when the token is of no such kind, and then nothing was decided.
func (s *Service) workloadActor(ctx context.Context, c caller, token string, now time.Time) (agent *registry.Client, ok bool, err error) {
	return nil, false, nil
}
