package exchange

import (
	"context"
	"errors"
	"log/slog"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// Signal is what a security event token is to have as an effect, and who says so.
type Signal struct {
	Org    delegation.OrgID
	Stream string
	ID     string // jti
	Effect signals.Effect
	// Repeated: the SET was received before. What it does may have been done then or, if the server died over it, not.
	Repeated bool
}

// Signals puts what a transmitter reported into force: on the trail, durably in the store, and on every replica by the feed. It
// MUST change nothing when the SET is a repeated one whose effect is in force.
type Signals interface {
	Signal(ctx context.Context, s Signal) error
}

// errNoStream is all that somebody learns who does not know what is registered: the same for an org or a stream that does not
// exist as for a SET of the wrong transmitter.
var errNoStream = &signals.Refusal{Code: signals.InvalidIssuer, Description: "the SET is not of the transmitter of a stream here"}

// TakeSignal takes a security event token of a stream (RFC 8935 §2). When it answers nil, the effect is in force here and on
// its way to every replica. A refusal is a *signals.Refusal; anything else an *Error or the context's, and the SET is to be sent
// again.
func (s *Service) TakeSignal(ctx context.Context, org delegation.OrgID, stream, token string) error {
	err := s.takeSignal(ctx, org, stream, token)
	if refusal, ok := errors.AsType[*signals.Refusal](err); ok {
		if left, ok := s.strangers.take("signals", s.cfg.Now()); ok {
			s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "a security event token was refused", slog.String("org", printable(string(org))),
				slog.String("stream", printable(stream)), slog.Any("error", refusal), slog.Uint64("not_logged_before", left))
		}
	}
	return err
}

func (s *Service) takeSignal(ctx context.Context, id delegation.OrgID, name, token string) error {
	now := s.cfg.Now().UTC()
	m, err := jose.Parse(token)
	switch {
	case err != nil:
		return &signals.Refusal{Code: signals.InvalidRequest, Description: "it is not a signed JWT"}
	case m.Type() != signals.TokenType: // JW4, SS1
		return &signals.Refusal{Code: signals.InvalidRequest, Description: "its typ must be secevent+jwt"}
	}
	event, err := signals.Parse(m.UnverifiedPayload())
	if err != nil {
		return err
	}
	org, stream, err := s.stream(ctx, id, name)
	switch {
	case err != nil:
		return err
	case event.Issuer != stream.Transmitter:
		return errNoStream
	}
	if err := s.proveSignal(ctx, stream, m); err != nil {
		return err
	}
	addressee, err := s.addressee(ctx, org, stream, event.Email())
	if err != nil {
		return err
	}
	effect, err := signals.Stream{
		Org: id, Addressee: addressee, IssuerName: stream.Of.Name, IssuerURL: stream.Of.URL, Tenant: stream.Of.OrgValue, Transmitter: stream.Transmitter,
		Audience: stream.Audience, ID: stream.StreamID, Opaque: stream.Subject == registry.SubjectOpaque,
		Critical: stream.CriticalSubjectMembers,
	}.Judge(event, now)
	if err != nil {
		return err
	}
	if effect.Kind == "" {
		s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "a security event changes nothing", slog.String("org", string(org.ID())),
			slog.String("stream", name), slog.String("event", effect.Event), slog.String("why", effect.Why))
		return nil
	}
	return s.signal(ctx, Signal{Org: id, Stream: name, ID: event.ID, Effect: effect}, event)
}

// stream finds a stream that is registered.
func (s *Service) stream(ctx context.Context, id delegation.OrgID, name string) (*registry.Org, *registry.Stream, error) {
	if _, err := delegation.ParseOrgID(string(id)); err != nil || s.cfg.Signals == nil {
		return nil, nil, errNoStream
	}
	org, err := s.cfg.Orgs.Org(ctx, id)
	switch {
	case errors.Is(err, registry.ErrUnknownOrg):
		return nil, nil, errNoStream
	case err != nil && ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case err != nil:
		return nil, nil, unavailable(err, "the org cannot be read now")
	}
	stream, ok := org.Stream(name)
	if !ok {
		return nil, nil, errNoStream
	}
	return org, stream, nil
}

// proveSignal verifies the signature with a key of the very transmitter (JW3).
func (s *Service) proveSignal(ctx context.Context, stream *registry.Stream, m jose.Message) error {
	bad := &signals.Refusal{Code: signals.InvalidKey, Description: "no key of its transmitter verifies it"}
	if !stream.AcceptsAlgorithm(m.Algorithm()) {
		return &signals.Refusal{Code: signals.InvalidKey, Description: "its alg is not one that the stream is registered with"}
	}
	key, ok := stream.Keys.Find(m.KeyID(), m.Algorithm())
	if len(stream.JWKS) == 0 {
		var err error
		if _, key, err = s.senders.key(ctx, stream.Transmitter, m); err != nil {
			if _, ok := errors.AsType[flaw](err); ok {
				return bad
			}
			return err
		}
	} else if !ok {
		return bad
	}
	if _, err := m.Verify(key); err != nil {
		return bad
	}
	return nil
}

// signal uses the SET up, and puts its effect into force. Its jti is used up first, so that of two replicas one acts; if that one
// dies, the transmitter, which has had no answer, sends the SET again, and Repeated lets Signals find out what is missing.
func (s *Service) signal(ctx context.Context, sig Signal, event signals.Event) error {
	key := assertionKey("signal "+sig.Stream+" "+event.Issuer, event.ID)
	err := s.cfg.Assertions(sig.Org).Consume(ctx, key, event.IssuedAt.Add(signals.MaxAge+signals.Skew))
	switch {
	case err == nil:
	case errors.Is(err, store.ErrConflict):
		sig.Repeated = true
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return unavailable(err, "single use cannot be checked now")
	}
	if err := s.cfg.Signals.Signal(ctx, sig); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unavailable(err, "the event cannot be put into force now")
	}
	return nil
}
