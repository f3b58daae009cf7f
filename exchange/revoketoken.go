package exchange

import (
	"context"
	"errors"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// RevokeToken revokes a token at the wish of the client that it was issued to, or of the agent that acts by it (RFC 7009),
// and with it every token that was derived from it (RV7). What does not verify is no error: it grants nothing (RV1). The hint
// is ignored: there is one kind of token to be found (RV3).
func (s *Service) RevokeToken(ctx context.Context, cred Credential, token, _ string) error {
	c, err := s.authenticate(ctx, cred) // RV2: first of all
	if err != nil {
		return s.turnedAway(ctx, cred, err)
	}
	switch {
	case token == "":
		return invalid("token", "token is missing")
	case s.cfg.Revoker == nil || irrevocable(token):
		return refuse(UnsupportedTokenType, "token", nil, "tokens of this kind cannot be revoked: they expire")
	}
	v, err := s.cfg.Tokens.Verify(ctx, token)
	if err != nil {
		if _, dead := errors.AsType[flaw](s.verdict(ctx, err)); !dead {
			return s.verdict(ctx, err) // RV5: nobody may believe that it is dead
		}
		return nil
	}
	if v.ClientID() != c.client.ClientID && v.Actor() != c.client.ID {
		return refuse(InvalidGrant, "", nil, "the token was issued to another client") // RV2
	}
	if err := s.cfg.Revoker.RevokeToken(ctx, v, c.client.ClientID); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unavailable(err, "the revocation cannot be put into force now")
	}
	return nil
}

// irrevocable reports whether a token says that it is of a kind of ours that nobody looks up once it is signed: a transaction
// token or an identity assertion grant. To answer "done" would be a lie (RV4).
func irrevocable(token string) bool {
	m, err := jose.Parse(token)
	return err == nil && (m.Type() == delegation.TypeTransactionToken || m.Type() == delegation.TypeIDJAG)
}
