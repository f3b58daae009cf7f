package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Preview is what an operator's wish would come to, in the order in which keys sign. A key that is yet to be made has no KID.
type Preview struct {
	Before, After []Info
}

// PreviewRotation is what Rotate would do.
func (r *Ring) PreviewRotation(ctx context.Context) (Preview, error) {
	return r.preview(ctx, planRotation)
}

// PreviewRetirement is what Retire would do.
func (r *Ring) PreviewRetirement(ctx context.Context, kid string) (Preview, error) {
	return r.preview(ctx, planRetirement(kid))
}

// PreviewImport is what Import would do.
func (r *Ring) PreviewImport(ctx context.Context, req ImportRequest) (Preview, error) {
	k, err := r.imported(ctx, req)
	if err != nil {
		return Preview{}, err
	}
	if r.cfg.Burnt(k.KID, r.cfg.Now()) {
		return Preview{}, fmt.Errorf("%w: %s was given up", ErrUnwanted, k.KID)
	}
	p, err := r.preview(ctx, planImport(k.KID, jose.Algorithm(k.Algorithm)))
	for i := range p.After {
		if p.After[i].KID == k.KID && req.Source != "" {
			p.After[i].Source = req.Source + ":" + req.Reference
		}
	}
	return p, err
}

// PreviewLoss is what is left, and made, when keys are in wrong hands.
func (r *Ring) PreviewLoss(ctx context.Context, kids []string) (Preview, error) {
	return r.preview(ctx, planned, kids...)
}

// preview is advance without its effects, as if some keys were burnt.
func (r *Ring) preview(ctx context.Context, plan planner, burnt ...string) (Preview, error) {
	now := r.cfg.Now().UTC().Truncate(time.Microsecond)
	stored, _, err := r.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return Preview{}, fmt.Errorf("keys: read: %w", err)
	}
	current := records(stored)
	before := r.sourced(describe(now, current, r.cfg.Policy))
	for i := range current {
		current[i].Burnt = r.cfg.Burnt(current[i].KID, now) || slices.Contains(burnt, current[i].KID)
	}
	next, err := plan(now, current, r.cfg.Policy)
	if err != nil {
		return Preview{}, err
	}
	return Preview{Before: before, After: r.sourced(describe(now, sorted(next), r.cfg.Policy))}, nil
}

// sourced says where each key is, or will be.
func (r *Ring) sourced(infos []Info) []Info {
	held := r.state.Load().held
	for i := range infos {
		infos[i].Source = inStore
		if infos[i].KID == "" && r.cfg.Source != "" {
			infos[i].Source = r.cfg.Source
		}
		for _, h := range held {
			if h.kid == infos[i].KID {
				infos[i].Source = h.source
			}
		}
	}
	return infos
}
