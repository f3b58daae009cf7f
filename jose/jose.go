// Package jose is the one room in which JSON Web Signatures are read and written, and the only importer of jwx.
//
// What it promises, whatever library does the work (DESIGN §9a):
//
//   - A token is looked at in the order length, alphabet, header, signature, payload. Nothing is believed before that.
//   - The algorithm belongs to the key. The header may only repeat it (RFC 8725 §3.1).
//   - No header member makes this package fetch, trust or skip anything: crit, b64, jku, jwk, x5u, x5c and zip are refused.
//     Only ParseProof reads a jwk, because a DPoP proof is about the key that it brings (RFC 9449 §4.2).
//   - JSON is read with exact names, no duplicates, valid UTF-8 and bounded depth. The names that are written are those
//     of our own structs, so a caller's text can never become a claim (GHSA-4cf7-xm37-g63h).
//
// No type of jwx appears in an exported signature, and no value of this package prints a private key.
package jose

import "errors"

// Algorithm is a JWS "alg" (RFC 7518 §3.1, RFC 8037, RFC 9864). Only the named ones exist here.
type Algorithm string

// The algorithms. EdDSA and Ed25519 are two names of one algorithm: a key of either verifies both (JW14).
const (
	ES256   Algorithm = "ES256"
	EdDSA   Algorithm = "EdDSA"
	Ed25519 Algorithm = "Ed25519"
	PS256   Algorithm = "PS256"
	RS256   Algorithm = "RS256"
)

// MaxTokenSize is the longest token, in bytes, that Parse looks at.
const MaxTokenSize = 16 << 10

// The sentinels. Compare with errors.Is; the text beside them says what exactly, and never repeats the token.
var (
	// ErrMalformed: not a compact JWS, or JSON that has two meanings.
	ErrMalformed = errors.New("jose: malformed")
	// ErrHeader: a header member that is refused, or of the wrong kind.
	ErrHeader = errors.New("jose: header refused")
	// ErrAlgorithm: an algorithm that is unknown, or not the key's own.
	ErrAlgorithm = errors.New("jose: algorithm refused")
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("jose: bad signature")
	// ErrKey: a key that is unusable, too weak, or of a kind that its algorithm does not fit.
	ErrKey = errors.New("jose: key refused")
)

// known reports whether a is one of the named algorithms. Names are compared byte for byte: noNE is not none (JW1).
func (a Algorithm) known() bool {
	switch a {
	case ES256, EdDSA, Ed25519, PS256, RS256:
		return true
	}
	return false
}

// family is the one name under which two names of one algorithm are compared.
func (a Algorithm) family() Algorithm {
	if a == Ed25519 {
		return EdDSA
	}
	return a
}
