package admin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// roleTransmitter is as what the trail has a transmitter of security events. It is no role that anybody could be given.
const roleTransmitter = "transmitter"

// Signal implements exchange.Signals: what a transmitter reports, on the trail before it takes effect. The entry refuses what
// began up to the time of the event, and is kept as long as one of an administrator's that is made now.
func (s *Service) Signal(ctx context.Context, sig exchange.Signal) error {
	e := sig.Effect
	reason := fmt.Sprintf("%s reported by stream %s", e.Event, sig.Stream)
	entry := revocation.New(sig.Org, e.Kind, e.ID, reason, s.cfg.Now(), s.remember(e.Kind))
	entry.Before, entry.Departed = e.Before, e.Departed
	if sig.Repeated {
		done, err := s.inForce(ctx, entry)
		if done || err != nil {
			return err
		}
	}
	who := delegation.Administrator{Subject: roleTransmitter + ":" + sig.Stream, OrgID: sig.Org, Role: roleTransmitter}
	detail := fmt.Sprintf("%s: revoke %s %s up to %s, jti %s", e.Event, e.Kind, e.ID, e.Before.Format(time.RFC3339), sig.ID)
	if err := s.As(who).record(ctx, sig.Org, "revocations", detail, entryChange(entry)); err != nil {
		return err
	}
	if _, err := s.cfg.Revocations(sig.Org).Revoke(ctx, entry); err != nil {
		return fmt.Errorf("admin: revoke: %w", err)
	}
	s.seen(ctx)
	return nil
}

// inForce reports whether a live entry does all that this one would.
func (s *Service) inForce(ctx context.Context, entry store.Revocation) (bool, error) {
	live, err := s.cfg.Revocations(entry.Org).Revocations(ctx, s.cfg.Now())
	if err != nil {
		return false, fmt.Errorf("admin: revocations of org %s: %w", entry.Org, err)
	}
	return slices.ContainsFunc(live, func(r store.Revocation) bool {
		return r.Kind == entry.Kind && r.ID == entry.ID && r.Scope == "" && r.Since.IsZero() && !r.Before.Before(entry.Before) &&
			(r.Departed || !entry.Departed)
	}), nil
}

var _ exchange.Signals = (*Service)(nil)
