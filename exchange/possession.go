package exchange

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// possession is what the client proves beside its credential: the key of a DPoP proof made for this very request, and the
// certificate of its TLS connection. With a proof comes a nonce for the next one, where nonces are in use (DP4).
//
// The proof is consumed here, after the client has authenticated, so that no stranger fills the store; and in the org's
// store, so that no replica takes it again (DP3).
func (s *Service) possession(
	ctx context.Context, c caller, cred *Credential, now time.Time,
) (p delegation.Possession, nonce string, err error) {
	if len(cred.Certificates) > 0 {
		p.X5T = delegation.CertificateThumbprint(cred.Certificates[0]) // MT1; who issued it plays no part (RFC 8705 §3)
	}
	if len(cred.Proofs) == 0 {
		return p, "", nil
	}
	proof, err := s.proofs.Check(dpop.Request{Proofs: cred.Proofs, Method: cred.Method, URI: cred.URI})
	switch {
	case errors.Is(err, dpop.ErrNonce):
		return p, "", s.demandNonce(err, now)
	case errors.Is(err, dpop.ErrUnavailable):
		return p, "", unavailable(err, "DPoP proofs cannot be checked now")
	case err != nil:
		return p, "", refuse(InvalidProof, "", err, "%s", reasonOf(err, dpop.ErrProof, "the DPoP proof is refused")) // DP1, DP2
	}
	if c.org.FAPI() && !fapiProof(cred.Proofs[0]) {
		return p, "", refuse(InvalidProof, "", nil, "the DPoP proof is refused: %s", flawFAPI) // FA6
	}
	err = s.cfg.Assertions(c.org.ID()).Consume(ctx, proofKey(proof), proof.Until())
	switch {
	case errors.Is(err, store.ErrConflict):
		return p, "", refuse(InvalidProof, "", err, "the DPoP proof was used before: make a new one for each request") // DP3
	case err != nil && ctx.Err() != nil:
		return p, "", ctx.Err()
	case err != nil:
		return p, "", unavailable(err, "single use cannot be checked now")
	}
	p.JKT = proof.JKT
	if s.cfg.Nonces != nil {
		if nonce, err = s.cfg.Nonces.Issue(now); err != nil {
			return p, "", unavailable(err, "nonces cannot be made now")
		}
	}
	return p, nonce, nil
}

// fapiProof reports whether a proof that was accepted is signed with an algorithm of the FAPI profile.
func fapiProof(proof string) bool {
	m, _, err := jose.ParseProof(proof)
	return err == nil && fapiAlgorithm(m.Algorithm())
}

// demandNonce sends the client back for a proof with a nonce (RFC 9449 §8). The proof was not consumed.
func (s *Service) demandNonce(cause error, now time.Time) error {
	nonce, err := s.cfg.Nonces.Issue(now)
	if err != nil {
		return unavailable(err, "nonces cannot be made now")
	}
	e := refuse(UseNonce, "", cause, "the DPoP proof needs the nonce that comes with this answer")
	e.Nonce = nonce
	return e
}

// proofKey names a proof among all that is used once: no assertion can be made to look like one.
func proofKey(p dpop.Proof) [32]byte {
	key := p.Key()
	return sha256.Sum256(append([]byte("dpop "), key[:]...))
}

// reasonOf is what an error says beside its sentinel, which must be of ours and safe to show; else, what is said without it.
func reasonOf(err, sentinel error, otherwise string) string {
	_, more, found := strings.Cut(err.Error(), sentinel.Error()+": ")
	if !errors.Is(err, sentinel) || !found {
		return otherwise
	}
	return otherwise + ": " + more
}

// readConfirmation reads the cnf of a token that was verified. A cnf that cannot be proven here, or only in part, is refused:
// to leave it out would turn a bound token into one that works for whoever holds it.
func readConfirmation(raw json.RawMessage) (*delegation.Confirmation, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if jose.Decode(raw, &members) != nil || len(members) != 1 { // DP11
		return nil, flaw("its cnf must have exactly one of jkt and x5t#S256")
	}
	var c delegation.Confirmation
	for name, value := range members {
		var thumbprint string
		if sum, err := decodeThumbprint(value, &thumbprint); err != nil || len(sum) != sha256.Size {
			return nil, flaw("its cnf must have a SHA-256 thumbprint, base64url without padding")
		}
		switch name {
		case "jkt":
			c.JKT = thumbprint
		case "x5t#S256":
			c.X5T = thumbprint
		default:
			return nil, flaw("its cnf must have exactly one of jkt and x5t#S256")
		}
	}
	return &c, nil
}

func decodeThumbprint(raw json.RawMessage, into *string) ([]byte, error) {
	if err := jose.Decode(raw, into); err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.Strict().DecodeString(*into)
}
