package jose

import (
	"crypto"
	"crypto/rsa"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// ProofType is the header's "typ" of a DPoP proof (RFC 9449 §4.2).
const ProofType = "dpop+jwt"

// The limits of an RSA key that a proof brings: whoever sends it decides how much work it is to verify.
const (
	maxProofRSABits = 4096
	maxProofRSAExp  = 65537
)

// ParseProof reads a DPoP proof and the key that it brings. It is Parse with one difference: the header must have a "jwk",
// a public one, and the typ dpop+jwt. This is the only place that reads an embedded key (JW6); the signature is for
// Message.Verify, and what the key is good for is for the caller to know.
func ParseProof(token string) (Message, Key, error) {
	m, header, err := split(token)
	if err != nil {
		return Message{}, Key{}, err
	}
	embedded, err := m.readProofHeader(header)
	if err != nil {
		return Message{}, Key{}, err
	}
	k, err := parseProofKey(embedded, m.alg)
	if err != nil {
		return Message{}, Key{}, err
	}
	return m, k, nil
}

// parseProofKey reads the "jwk" of a proof, for the one algorithm of the proof's header.
func parseProofKey(data []byte, alg Algorithm) (Key, error) {
	k, err := parsePublicJWK(data, alg)
	if err != nil {
		return Key{}, fmt.Errorf("%w: jwk: %w", ErrHeader, err)
	}
	if p, ok := k.public.(*rsa.PublicKey); ok && (p.N.BitLen() > maxProofRSABits || p.E > maxProofRSAExp) {
		return Key{}, fmt.Errorf("%w: jwk: %w: RSA of up to %d bits with an exponent of up to %d",
			ErrHeader, ErrKey, maxProofRSABits, maxProofRSAExp)
	}
	return k, nil
}

// readProofHeader is readHeader for proofs, and returns the embedded key.
func (m *Message) readProofHeader(data []byte) (jsontext.Value, error) {
	var h header
	if err := DecodeClaims(data, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	embedded := h.JWK
	h.JWK = nil
	if err := m.takeHeader(&h); err != nil {
		return nil, err
	}
	switch {
	case m.typ != ProofType:
		return nil, fmt.Errorf("%w: typ is not %s", ErrHeader, ProofType)
	case embedded.Kind() != '{':
		return nil, fmt.Errorf("%w: no jwk", ErrHeader)
	}
	return embedded, nil
}

// Public is the public key itself. The caller must not change it.
func (k Key) Public() crypto.PublicKey { return k.public }
