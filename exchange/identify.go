package exchange

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// Identity is who signed in at an issuer that an org trusts.
type Identity struct {
	Subject string    // as tokens carry it
	Expiry  time.Time // of the login
}

// maxIdentifier bounds a client id and a nonce, in bytes.
const maxIdentifier = 256

// errUnidentified is all that is said of an ID token that is refused, never what was wrong: whoever signs in on an executor's page
// could ask it which orgs there are, and whom they trust (threat: tenant mix-up). What was wrong is in the log.
var errUnidentified = refuse(SubjectTokenInvalid, "id_token", nil, "id_token does not prove who signed in: "+
	"it must be fresh, of an issuer that the org trusts, issued to client_id for this very nonce, and of a user who may log in")

// Identify tells whose login an ID token is, for a relying party that is a client of the issuer. Nothing is granted, so nothing is
// recorded: what comes of it is on the trail of who asked.
func (s *Service) Identify(ctx context.Context, org delegation.OrgID, token, clientID, nonce string) (Identity, error) {
	switch {
	case token == "" || len(token) > jose.MaxTokenSize: // JW16
		return Identity{}, invalid("id_token", "id_token must be 1 to %d bytes", jose.MaxTokenSize)
	case clientID == "" || len(clientID) > maxIdentifier:
		return Identity{}, invalid("client_id", "client_id must be 1 to %d bytes", maxIdentifier)
	case nonce == "" || len(nonce) > maxIdentifier: // a login without one would match a token without one
		return Identity{}, invalid("nonce", "nonce must be 1 to %d bytes", maxIdentifier)
	}
	l, err := s.signedIn(ctx, org, token, clientID, nonce)
	switch _, flawed := errors.AsType[flaw](err); {
	case flawed, ReasonOf(err) == DelegationDenied:
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "an ID token was refused", slog.String("org", string(org)), slog.Any("error", err))
		return Identity{}, errUnidentified
	case err != nil:
		return Identity{}, err
	}
	return Identity{Subject: l.subject.ID, Expiry: l.subject.Expiry}, nil
}

// signedIn verifies an ID token as the subject_token of a first hop would be, and besides as its client must (OpenID Connect Core
// §3.1.3.7): it was issued to that client, and for the very request that the nonce is of.
func (s *Service) signedIn(ctx context.Context, id delegation.OrgID, token, clientID, nonce string) (*login, error) {
	org, err := s.cfg.Orgs.Org(ctx, id)
	switch {
	case errors.Is(err, registry.ErrUnknownOrg):
		return nil, flaw("there is no such org")
	case err != nil:
		return nil, unavailable(err, "the org cannot be read now")
	}
	now := s.cfg.Now().UTC()
	l, err := s.issuers.verify(ctx, org, token, registry.TokenTypeID, now)
	switch {
	case err != nil:
		return nil, err
	case l.party != clientID || l.azp != "" && l.azp != clientID:
		return nil, flaw("it was issued to another client")
	case subtle.ConstantTimeCompare([]byte(l.nonce), []byte(nonce)) != 1: // threat: another's ID token, injected or replayed
		return nil, flaw("its nonce is missing or of another request")
	case l.bound != nil:
		return nil, flaw("it is bound to a key, which nobody proves here")
	}
	if l, err = s.enrolled(ctx, org, l); err != nil {
		return nil, err
	}
	claims := delegation.Claims{
		OrgID: id, Subject: l.subject.ID, SessionID: l.subject.SessionID, IssuedAt: l.issuedAt, SubjectIssuedAt: l.subject.IssuedAt,
	}
	switch err := s.cfg.Revocations.Check(&claims, now); {
	case errors.Is(err, delegation.ErrRevoked):
		return nil, flaw("it is older than a revocation of its subject, its session or the org")
	case err != nil:
		return nil, unavailable(err, "revocations cannot be checked now")
	}
	return l, nil
}
