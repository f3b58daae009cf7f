package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
)

// Permits lists the policies that can let an agent have a scope at the mint, their conditions aside: the permits whose principal,
// action and resource fit, sorted. It answers "why can this agent do that"; whether it may is for Exchange to decide, and a forbid
// may stand against it.
func (s *Set) Permits(agent, scope string) []string {
	a, ok := s.agents[agent]
	if !ok {
		return nil
	}
	is, ok := s.scopes[scope]
	if !ok { // a scope of no provider: of an internal service
		uid := types.NewEntityUID(typeScope, types.String(scope))
		is = place{uid, fits(uid, nil)}
	}
	var out []string
	reached := chooseResource(nil, a.exchange, is.fits)
	for id, p := range reached.All() {
		if p.Effect() == types.Permit {
			out = append(out, string(id))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
