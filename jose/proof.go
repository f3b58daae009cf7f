package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"

	"github.com/go-json-experiment/json/jsontext"
)

// ProofType is the header's "typ" of a DPoP proof (RFC 9449 §4.2).
const ProofType = "dpop+jwt"

// The limits of an RSA key that a proof brings: whoever sends it decides how much work it is to verify.
const (
	maxProofRSABits     = 4096
	maxProofRSAExponent = 65537
)

// ParseProof reads a DPoP proof and the key that it brings. It is Parse with one difference: the header must have the typ
// dpop+jwt and a public "jwk". No other function reads an embedded key (JW6). The signature is for Message.Verify, and
// what the key is good for is for the caller to know.
func ParseProof(token string) (Message, Key, error) {
	m, data, err := split(token)
	if err != nil {
		return Message{}, Key{}, err
	}
	var h header
	if err := DecodeClaims(data, &h); err != nil {
		return Message{}, Key{}, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	embedded := h.JWK
	h.JWK = nil
	if err := m.takeHeader(&h); err != nil {
		return Message{}, Key{}, err
	}
	switch {
	case m.typ != ProofType:
		return Message{}, Key{}, fmt.Errorf("%w: typ is not %s", ErrHeader, ProofType)
	case embedded.Kind() != '{':
		return Message{}, Key{}, fmt.Errorf("%w: no jwk", ErrHeader)
	}
	k, err := parseProofKey(embedded, m.alg)
	if err != nil {
		return Message{}, Key{}, fmt.Errorf("%w: jwk: %w", ErrHeader, err)
	}
	return m, k, nil
}

// parseProofKey reads the "jwk" of a proof, for the one algorithm of the proof's header.
func parseProofKey(data []byte, alg Algorithm) (Key, error) {
	k, err := parsePublicJWK(data, alg)
	if err != nil {
		return Key{}, err
	}
	if p, ok := k.public.(*rsa.PublicKey); ok && (p.N.BitLen() > maxProofRSABits || p.E > maxProofRSAExponent) {
		return Key{}, fmt.Errorf("%w: RSA of at most %d bits, with an exponent of at most %d", ErrKey, maxProofRSABits,
			maxProofRSAExponent)
	}
	return k, nil
}

// SignProof makes a DPoP proof of payload: a compact JWS whose header has typ dpop+jwt, alg, and the public key as "jwk"
// in place of a kid.
func (s Signer) SignProof(payload []byte) (string, error) {
	if s.signer == nil {
		return "", fmt.Errorf("%w: no key", ErrKey)
	}
	return s.signWith(struct {
		Typ string         `json:"typ"`
		Alg Algorithm      `json:"alg"`
		JWK jsontext.Value `json:"jwk"`
	}{ProofType, s.key.alg, requiredMembers(s.key.public)}, payload)
}

// requiredMembers is the JWK of a key with its required members only, in the order of their names (RFC 7638 §3.2).
func requiredMembers(public crypto.PublicKey) []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes() // 4, x, y
		if err != nil {
			return nil
		}
		half := len(point) / 2
		return []byte(`{"crv":"P-256","kty":"EC","x":"` + b64(point[1:1+half]) + `","y":"` + b64(point[1+half:]) + `"}`)
	case ed25519.PublicKey:
		return []byte(`{"crv":"Ed25519","kty":"OKP","x":"` + b64(p) + `"}`)
	case *rsa.PublicKey:
		e := big.NewInt(int64(p.E)).Bytes()
		return []byte(`{"e":"` + b64(e) + `","kty":"RSA","n":"` + b64(p.N.Bytes()) + `"}`)
	}
	return nil
}
