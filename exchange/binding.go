package exchange

import (
	"github.com/onbehalf/obo/delegation"
)

// binding is the key that the new token is bound to, or nil. It is always a key of the agent that will act, because "cnf"
// speaks of the outermost actor (ACT9):
//
//   - first hop: the key that the client proves with this request;
//   - continuation and pick-up: the parent's own key, which the client must prove; an unbound parent's child is bound to
//     what the client proves;
//   - delegation: the holder proves the parent's key, and the child is bound to the next agent's own.
//
// A binding is never lost on the way: who steals a bound token has nothing, not even by way of an exchange.
func (f *Facts) binding(h hop) (*delegation.Confirmation, error) {
	if f.Client.Registration.DPoPBound && f.Possession.JKT == "" {
		return nil, refuse(InvalidProof, "", nil, // RFC 9449 §5.2, DP5
			"the client is registered with dpop_bound_access_tokens: send a DPoP proof with each request")
	}
	bound := f.Subject.bound()
	if bound != nil && !possesses(f.Possession, bound) {
		return nil, refuse(SubjectTokenInvalid, "subject_token", nil,
			"subject_token: it is bound to a key, which this request does not prove")
	}
	if h == handOver {
		return f.actorBinding(bound)
	}
	key := bound
	if key == nil {
		var err error
		if key, err = f.clientBinding(); err != nil {
			return nil, err
		}
	}
	if f.ActorKey != nil && (key == nil || *key != *f.ActorKey) {
		return nil, refuse(ActorTokenInvalid, "actor_token", nil, "actor_token: its cnf names a key that this request does not prove")
	}
	return key, nil
}

// clientBinding is for a token that the client itself will use, and that comes from nothing that was bound. A proof wins over
// a certificate: a proof is made to be bound to, a certificate may be there for other reasons. Never both (DP11).
func (f *Facts) clientBinding() (*delegation.Confirmation, error) {
	p, own := f.Possession, &f.Client.Registration
	switch {
	case p.JKT != "":
		return &delegation.Confirmation{JKT: p.JKT}, nil
	case p.X5T != "" && (own.CertificateBound || f.Org.FAPI()):
		return &delegation.Confirmation{X5T: p.X5T}, nil
	case own.CertificateBound && f.accessToken():
		return nil, refuse(InvalidProof, "", nil, // RFC 8705 §3.4
			"the client is registered with tls_client_certificate_bound_access_tokens: connect with its certificate, or send a DPoP proof")
	case f.Org.FAPI() && f.accessToken():
		return nil, refuse(InvalidProof, "", nil, // FA1
			"the org issues sender-constrained tokens only: send a DPoP proof, or connect with a client certificate")
	}
	return nil, nil
}

// actorBinding is for a token that is handed over. The next agent's key is the one that its own assertion names, else the one
// that it signed the assertion with; a controller cannot say what key another agent has.
func (f *Facts) actorBinding(parent *delegation.Confirmation) (*delegation.Confirmation, error) {
	own := &f.Actor.Registration
	switch {
	case f.ActorKey != nil:
		if f.ActorKey.X5T != "" && own.DPoPBound {
			return nil, refuse(ActorTokenInvalid, "actor_token", nil,
				"actor_token: the agent uses DPoP-bound tokens only, and its cnf names a certificate")
		}
		return f.ActorKey, nil
	case parent == nil && f.Possession.JKT == "" && !own.DPoPBound && !own.CertificateBound && (!f.Org.FAPI() || !f.accessToken()):
		return nil, nil // nobody asks for a bound token
	case f.ActorSigner != nil && (own.DPoPBound || !own.CertificateBound):
		return f.ActorSigner, nil
	}
	return nil, refuse(ActorTokenInvalid, "actor_token", nil,
		"actor_token: the new token must be bound to the agent's own key: let the agent sign its assertion, or name the key there as cnf")
}

// accessToken reports whether what is asked for is an access token: other kinds are not sender-constrained by themselves.
func (f *Facts) accessToken() bool {
	return f.Want.IssuedType == TypeAccessToken || f.Want.IssuedType == TypeJWT
}

// bound is the key that the subject_token is bound to, or nil.
func (s *Subject) bound() *delegation.Confirmation {
	if s.login != nil {
		return s.login.bound // JG5
	}
	return s.claims.Confirmation
}

// possesses reports whether the key was proven.
func possesses(p delegation.Possession, key *delegation.Confirmation) bool {
	if key.X5T != "" {
		return key.JKT == "" && key.X5T == p.X5T
	}
	return key.JKT != "" && key.JKT == p.JKT
}
