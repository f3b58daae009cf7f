package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// The sizes of RSA keys that are used: below is weak (JW15), above is a way to make a verifier work (CVE-2023-29409).
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// es256Half is the length of r and of s in an ES256 signature (RFC 7518 §3.4).
const es256Half = 32

// Key is a public key with its id and its one algorithm. The zero Key verifies nothing.
type Key struct {
	kid        string
	alg        Algorithm
	public     crypto.PublicKey
	thumbprint string
	json       []byte
}

// NewKey makes a Key of a P-256 key for ES256, an Ed25519 key for EdDSA or Ed25519, or an RSA key of 2048 to 8192 bits
// for PS256 or RS256. The kid may be empty; then the key is found only as the single one of its algorithm.
func NewKey(kid string, alg Algorithm, pub crypto.PublicKey) (Key, error) {
	if kid != "" {
		if err := checkKeyID(kid); err != nil {
			return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	if err := checkPublic(alg, pub); err != nil {
		return Key{}, err
	}
	if e, ok := pub.(*ed25519.PublicKey); ok {
		pub = *e
	}
	k := Key{kid: kid, alg: alg, public: pub}
	sum := sha256.Sum256(requiredMembers(pub))
	k.thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	j, err := jwk.FromRaw(pub)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	k.json, err = writeJWK(j, kid, alg)
	return k, err
}

// KeyID is the key's "kid", or empty.
func (k Key) KeyID() string { return k.kid }

// Algorithm is the one algorithm that the key is for.
func (k Key) Algorithm() Algorithm { return k.alg }

// Thumbprint is the SHA-256 thumbprint of RFC 7638, base64url without padding.
func (k Key) Thumbprint() string { return k.thumbprint }

// Public is the public key itself. The caller must not change it.
func (k Key) Public() crypto.PublicKey { return k.public }

// JSON is the public JWK (RFC 7517). The caller must not change it.
func (k Key) JSON() []byte { return k.json }

func checkPublic(alg Algorithm, pub crypto.PublicKey) error {
	fits := false
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		fits = alg == ES256 && p != nil && p.Curve == elliptic.P256() && onCurve(p)
	case ed25519.PublicKey:
		fits = alg.family() == EdDSA && len(p) == ed25519.PublicKeySize && !isSmallOrder(p)
	case *ed25519.PublicKey:
		fits = alg.family() == EdDSA && p != nil && len(*p) == ed25519.PublicKeySize && !isSmallOrder(*p)
	case *rsa.PublicKey:
		fits = (alg == PS256 || alg == RS256) && p != nil && p.N != nil && p.E > 2 && p.E&1 == 1 &&
			p.N.BitLen() >= minRSABits && p.N.BitLen() <= maxRSABits && !isROCA(p.N)
	}
	if !fits {
		return fmt.Errorf("%w: %T does not fit %q", ErrKey, pub, alg)
	}
	return nil
}

// onCurve refuses the invalid points that jwx lets pass.
func onCurve(p *ecdsa.PublicKey) bool {
	if p.X == nil || p.Y == nil { //nolint:staticcheck // SA1019: Bytes panics on a key without coordinates
		return false
	}
	_, err := p.Bytes()
	return err == nil
}

// pssOptions are those of PS256: the salt is as long as the hash, and no other is taken (RFC 7518 §3.5).
var pssOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

// verify checks a signature with the standard library.
func (k Key) verify(signed, signature []byte) error {
	ok := false
	switch p := k.public.(type) {
	case *ecdsa.PublicKey:
		if len(signature) == 2*es256Half {
			sum := sha256.Sum256(signed)
			r, s := new(big.Int).SetBytes(signature[:es256Half]), new(big.Int).SetBytes(signature[es256Half:])
			ok = ecdsa.Verify(p, sum[:], r, s)
		}
	case ed25519.PublicKey:
		ok = ed25519.Verify(p, signed, signature)
	case *rsa.PublicKey:
		sum := sha256.Sum256(signed)
		if k.alg == PS256 {
			ok = rsa.VerifyPSS(p, crypto.SHA256, sum[:], signature, pssOptions) == nil
		} else {
			ok = rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], signature) == nil
		}
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

// writeJWK writes a JWK. The names are constants; the values are the key's.
func writeJWK(j jwk.Key, kid string, alg Algorithm) ([]byte, error) {
	for name, value := range map[string]string{jwk.KeyIDKey: kid, jwk.AlgorithmKey: string(alg), jwk.KeyUsageKey: "sig"} {
		if value == "" {
			continue
		}
		if err := j.Set(name, value); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	data, err := Encode(j)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return data, nil
}
