package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// maxPrivateJWK is the longest private JWK, in bytes, that is read: RSA of 8192 bits and some.
const maxPrivateJWK = 16 << 10

// generatedRSABits is the size of the RSA keys that Generate makes.
const generatedRSABits = 3072

// Generate makes a private key for alg: P-256, Ed25519, or RSA of 3072 bits.
func Generate(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA, Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case PS256, RS256:
		return rsa.GenerateKey(rand.Reader, generatedRSABits)
	}
	return nil, fmt.Errorf("%w: %q", ErrAlgorithm, alg)
}

// ParsePrivateJWK reads a private JWK with a kid (RFC 7517). Its alg, or the default for its type, is the signer's
// algorithm. Errors say nothing of the key.
func ParsePrivateJWK(data []byte) (Signer, error) {
	if len(data) > maxPrivateJWK {
		return Signer{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxPrivateJWK)
	}
	var m publicMembers
	if err := DecodeClaims(data, &m); err != nil {
		return Signer{}, fmt.Errorf("%w: not a JWK", ErrMalformed)
	}
	if m.D == nil || !m.isFor("sign") {
		return Signer{}, fmt.Errorf("%w: not a private signature key", ErrKey)
	}
	alg, err := keyAlgorithm(m)
	if err != nil {
		return Signer{}, err
	}
	key, err := rawPrivate(data)
	if err != nil {
		return Signer{}, err
	}
	s, err := NewSigner(m.Kid, alg, key)
	if err != nil {
		return Signer{}, err
	}
	return s, s.prove()
}

func rawPrivate(data []byte) (crypto.Signer, error) {
	j, err := jwk.ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%w: not a JWK", ErrKey)
	}
	var raw any
	if err := j.Raw(&raw); err != nil {
		return nil, fmt.Errorf("%w: not a private key", ErrKey)
	}
	key, ok := raw.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: not a private signature key", ErrKey)
	}
	return key, nil
}

// ImportPrivate reads a private key that somebody else made, a JWK or PEM (PKCS #8), and writes it as a JWK whose kid is its
// thumbprint (RFC 7638). An alg in the JWK must be the one that is asked for. The result is a secret; errors say nothing of it.
func ImportPrivate(data []byte, alg Algorithm) (secret []byte, err error) {
	if len(data) > maxPrivateJWK {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxPrivateJWK)
	}
	var key crypto.Signer
	if block, rest := pem.Decode(data); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		signer, ok := parsed.(crypto.Signer)
		if err != nil || !ok || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("%w: want one PRIVATE KEY (PKCS #8) and nothing else", ErrKey)
		}
		key = signer
	} else {
		var m publicMembers
		if err := DecodeClaims(data, &m); err != nil || m.D == nil || !m.isFor("sign") {
			return nil, fmt.Errorf("%w: neither PEM nor a private signature JWK", ErrKey)
		}
		if m.Alg != "" && m.Alg != alg {
			return nil, fmt.Errorf("%w: its alg is not %s", ErrKey, alg)
		}
		if key, err = rawPrivate(data); err != nil {
			return nil, err
		}
	}
	public, err := NewKey("", alg, key.Public())
	if err != nil {
		return nil, err
	}
	s, err := NewSigner(public.Thumbprint(), alg, key)
	if err != nil {
		return nil, err
	}
	if err := s.prove(); err != nil {
		return nil, err
	}
	return MarshalPrivateJWK(public.Thumbprint(), alg, key)
}

// prove signs once, so that a key whose halves do not belong together is found when it is read.
func (s Signer) prove() error {
	signature, err := s.sign([]byte("proof"))
	if err != nil {
		return err
	}
	if s.key.verify([]byte("proof"), signature) != nil {
		return fmt.Errorf("%w: the private and the public part do not belong together", ErrKey)
	}
	return nil
}

// MarshalPrivateJWK writes a private key of Generate's kinds as a JWK. The result is a secret.
func MarshalPrivateJWK(kid string, alg Algorithm, key crypto.Signer) ([]byte, error) {
	if _, err := NewSigner(kid, alg, key); err != nil {
		return nil, err
	}
	j, err := jwk.FromRaw(key)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot be written as a JWK", ErrKey)
	}
	return writeJWK(j, kid, alg)
}

// SignAssertion signs a payload with a private key in PEM (PKCS #8, or PKCS #1 as some servers hand it out), for a server that knows
// the key. kid may be empty. Errors say nothing of the key.
func SignAssertion(key []byte, alg Algorithm, kid string, payload []byte) (string, error) {
	block, rest := pem.Decode(key)
	if len(key) > maxPrivateJWK || block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return "", fmt.Errorf("%w: want one private key in PEM and nothing else", ErrKey)
	}
	var signer crypto.Signer
	if rsaKey, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		signer = rsaKey
	} else if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		signer, _ = parsed.(crypto.Signer)
	}
	if signer == nil {
		return "", fmt.Errorf("%w: neither PKCS #8 nor PKCS #1", ErrKey)
	}
	public, err := NewKey(kid, alg, signer.Public())
	if err != nil {
		return "", err
	}
	return Signer{key: public, signer: signer}.signWith(struct {
		Alg Algorithm `json:"alg"`
		Kid string    `json:"kid,omitempty"`
		Typ string    `json:"typ"`
	}{alg, kid, "JWT"}, payload)
}
