package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// acting is the agent that will act, with the keys that it has proven to be its own (ACT9).
type acting struct {
	agent  *registry.Client
	key    *delegation.Confirmation // that its own assertion, or its own access token, names as cnf; or nil
	signer *delegation.Confirmation // with which it signed its own assertion; nil when a controller did, or nobody
}

// actor finds the agent that will act: who the actor_token proves, else the client itself (TX19).
func (s *Service) actor(ctx context.Context, c caller, req *Request, now time.Time) (acting, error) {
	var a acting
	var err error
	switch req.ActorTokenType {
	case "":
		return acting{agent: c.client}, nil
	case TypeAccessToken:
		a, err = s.actorByToken(ctx, c, req.ActorToken)
	default:
		a, err = s.actorByJWT(ctx, c, req.ActorToken, now)
	}
	if f, ok := errors.AsType[flaw](err); ok {
		return acting{}, refuse(ActorTokenInvalid, "actor_token", err, "actor_token: %v", f)
	}
	return a, err
}

// actorByJWT takes a token of the agent's platform, which says who the agent is, or an assertion of its own.
func (s *Service) actorByJWT(ctx context.Context, c caller, token string, now time.Time) (acting, error) {
	agent, ok, err := s.workloadActor(ctx, c, token, now) // WI6
	if ok || err != nil {
		return acting{agent: agent}, err
	}
	return s.actorByAssertion(ctx, c, token, now)
}

// typeActorAssertion is the typ of an assertion that is for acting alone. The agent gives it to whoever hands over to it, who
// could authenticate as the agent with one that has no typ of its own (JW4).
const typeActorAssertion = "actor-assertion+jwt"

// actorByAssertion takes an assertion of the shape of RFC 7523: iss is the signer, sub the actor, and the signer is the actor
// or one of its registered controllers.
func (s *Service) actorByAssertion(ctx context.Context, c caller, token string, now time.Time) (acting, error) {
	a, err := openAssertion(token, "", "jwt", typeActorAssertion) // JW4: one that is for client authentication is for that alone
	if err != nil {
		return acting{}, err
	}
	signer, err := inOrg(c.org, a.claims.Issuer)
	if err != nil {
		return acting{}, err
	}
	actor, err := inOrg(c.org, a.claims.Subject)
	switch {
	case err != nil:
		return acting{}, err
	case signer.Off(now) != "":
		return acting{}, flaw("its signer is " + signer.Off(now))
	case signer != actor && !slices.Contains(actor.Controllers, signer.Name):
		return acting{}, flaw("its signer is neither the agent nor a registered controller of it")
	}
	named, err := a.confirmation()
	if err != nil {
		return acting{}, err
	}
	if signer != actor && named != nil {
		return acting{}, flaw("a controller signed it, who cannot say what key the agent has: leave cnf out, or let the agent sign")
	}
	if err := s.prove(ctx, a, signer, now); err != nil {
		return acting{}, err
	}
	if signer != actor {
		return acting{agent: actor}, nil
	}
	key, _ := signer.Keys.Find(a.message.KeyID(), a.message.Algorithm()) // prove verified with it
	return acting{agent: actor, key: named, signer: &delegation.Confirmation{JKT: key.Thumbprint()}}, nil
}

// confirmation is the key that the assertion names for the agent it is about, or nil.
func (a assertion) confirmation() (*delegation.Confirmation, error) {
	var c struct {
		Confirmation json.RawMessage `json:"cnf"`
	}
	if err := jose.Decode(a.message.UnverifiedPayload(), &c); err != nil {
		return nil, flaw("its claims are malformed")
	}
	return readConfirmation(c.Confirmation)
}

// actorByToken takes an access token of ours: the actor is its current actor. The agents behind the current one prove nothing:
// they handed over. A key that the token is bound to was proven when it was issued, and the new token is for that key alone. A
// bearer token must be for this server: one that is for a resource was shown there, and who saw it could hand its own token
// over to the agent, and keep what comes of it.
func (s *Service) actorByToken(ctx context.Context, c caller, token string) (acting, error) {
	v, err := s.cfg.Tokens.Verify(ctx, token)
	if err != nil {
		return acting{}, s.verdict(ctx, err)
	}
	if v.OrgID() != c.org.ID() {
		return acting{}, denied("the actor_token is of another org") // TX24
	}
	if v.Confirmation() == nil && v.Audience() != s.cfg.Issuer {
		return acting{}, flaw("it is a bearer token for a resource: use the agent's own assertion, or a token that is bound to its key")
	}
	_, name, err := delegation.ParseAgentID(v.Actor())
	if err != nil {
		return acting{}, flaw("its actor is no agent")
	}
	actor, ok := c.org.Client(name)
	if !ok {
		return acting{}, flaw("its actor is no longer registered")
	}
	return acting{agent: actor, key: v.Confirmation()}, nil
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
