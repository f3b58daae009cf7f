package exchange

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// actor is the agent that will act: who the actor_token proves, else the client itself (TX19).
func (s *Service) actor(ctx context.Context, c caller, req Request, now time.Time) (*registry.Client, error) {
	var actor *registry.Client
	var err error
	switch req.ActorTokenType {
	case "":
		return c.client, nil
	case TypeAccessToken:
		actor, err = s.actorByToken(ctx, c, req.ActorToken)
	default:
		actor, err = s.actorByAssertion(ctx, c, req.ActorToken, now)
	}
	if f, ok := errors.AsType[flaw](err); ok {
		return nil, refuse(ActorTokenInvalid, "actor_token", err, "actor_token: %v", f)
	}
	return actor, err
}

// actorByAssertion takes an assertion of the shape of RFC 7523: iss is the signer, sub the actor, and the signer is the actor
// or one of its registered controllers.
func (s *Service) actorByAssertion(ctx context.Context, c caller, token string, now time.Time) (*registry.Client, error) {
	a, err := openAssertion(token, "", "jwt") // JW4: one that is typed for client authentication is for that alone
	if err != nil {
		return nil, err
	}
	signer, err := inOrg(c.org, a.claims.Issuer)
	if err != nil {
		return nil, err
	}
	actor, err := inOrg(c.org, a.claims.Subject)
	switch {
	case err != nil:
		return nil, err
	case signer.Disabled:
		return nil, flaw("its signer is disabled")
	case signer != actor && !slices.Contains(actor.Controllers, signer.Name):
		return nil, flaw("its signer is neither the agent nor a registered controller of it")
	}
	if err := s.prove(ctx, a, signer, now); err != nil {
		return nil, err
	}
	return actor, nil
}

// actorByToken takes an access token of ours: the actor is its current actor, whatever else the token is for. The agents
// behind the current one prove nothing: they handed over.
func (s *Service) actorByToken(ctx context.Context, c caller, token string) (*registry.Client, error) {
	v, err := s.cfg.Tokens.Verify(ctx, token)
	if err != nil {
		return nil, s.verdict(ctx, err)
	}
	if v.OrgID() != c.org.ID() {
		return nil, denied("the actor_token is of another org") // TX24
	}
	_, name, err := delegation.ParseAgentID(v.Actor())
	if err != nil {
		return nil, flaw("its actor is no agent")
	}
	actor, ok := c.org.Client(name)
	if !ok {
		return nil, flaw("its actor is no longer registered")
	}
	return actor, nil
}

// verdict says why a token of ours was refused: a flaw, or an *Error when it cannot be known.
func (s *Service) verdict(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, v := range []struct {
		err  error
		text flaw
	}{
		{delegation.ErrExpired, "it has expired"},
		{delegation.ErrRevoked, "it was revoked"},
		{delegation.ErrType, "it is not an access token of this server"},
		{delegation.ErrIssuer, "it is not an access token of this server"},
		{delegation.ErrUnknownKey, "it is not signed with a key of this server"},
		{delegation.ErrAlgorithm, "its algorithm is refused"},
		{delegation.ErrSignature, "its signature does not verify"},
		{delegation.ErrNotYetValid, "it is from the future"},
		{delegation.ErrBound, "it is bound to a key, and possession cannot be proven here"},
		{delegation.ErrChain, "its delegation chain is broken"},
		{delegation.ErrClaims, "its claims are not those of an access token of this server"},
		{delegation.ErrMalformed, "it is malformed"},
	} {
		if errors.Is(err, v.err) {
			return v.text
		}
	}
	return unavailable(err, "tokens cannot be verified now")
}
