package exchange

import (
	"context"
	"time"

	"github.com/onbehalf/obo/delegation"
)

// grantAllowed refuses a grant that is not known, or that the agent is not registered for (TE10).
func (f *Facts) grantAllowed() error {
	if f.Grant == GrantType {
		return nil
	}
	return refuse(UnsupportedGrantType, "grant_type", nil, "grant_type is not supported")
}

// serviceLogin is the subject of client_credentials: the service account that the agent is registered for.
func (s *Service) serviceLogin(_ caller, _ time.Time) (*login, error) {
	return nil, refuse(UnsupportedGrantType, "grant_type", nil, "grant_type is not supported")
}

// assertedLogin is the subject of the jwt-bearer grant: what the assertion of a trusted issuer says (JG1, JG4).
func (s *Service) assertedLogin(_ context.Context, _ caller, _ string, _ time.Time) (*login, error) {
	return nil, refuse(UnsupportedGrantType, "grant_type", nil, "grant_type is not supported")
}

// checkFormat checks what kind of token is asked for, and what only some kinds have.
func checkFormat(w *Want, r Request) *Error {
	switch r.RequestedTokenType {
	case "", TypeAccessToken:
		w.IssuedType = TypeAccessToken
	case TypeJWT:
		w.IssuedType = TypeJWT
	default: // TX11: never another type in silence
		return invalid("requested_token_type", "requested_token_type must be %s or %s", TypeAccessToken, TypeJWT)
	}
	return nil
}

// formatTarget is the audience of a token that is for no resource of ours: another authorization server, or a trust domain.
// ours reports that the token is for a resource, which Facts.target finds; audience is empty then.
func (f *Facts) formatTarget() (audience string, ours bool, err error) { return "", true, nil }

// format makes the kind of token that was asked for of the approved one. It is the last thing that Decide does.
func (f *Facts) format(u delegation.Unsigned) (delegation.Unsigned, error) { return u, nil }
