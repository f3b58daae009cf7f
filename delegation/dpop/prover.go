package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Prover makes proofs with one key. It may be used by many goroutines.
type Prover struct {
	signer jose.Signer
	now    func() time.Time
}

// NewProver takes a P-256, an Ed25519 or an RSA key, and signs with ES256, EdDSA or PS256. The clock is time.Now when now
// is nil.
func NewProver(key crypto.Signer, now func() time.Time) (*Prover, error) {
	if key == nil {
		return nil, errors.New("dpop: a prover needs a key")
	}
	var alg jose.Algorithm
	switch key.Public().(type) {
	case *ecdsa.PublicKey:
		alg = jose.ES256
	case ed25519.PublicKey, *ed25519.PublicKey:
		alg = jose.EdDSA
	case *rsa.PublicKey:
		alg = jose.PS256
	default:
		return nil, fmt.Errorf("dpop: a prover takes a P-256, an Ed25519 or an RSA key, not %T", key.Public())
	}
	signer, err := jose.NewSigner("proof", alg, key) // a proof has no kid; it brings the key
	if err != nil {
		return nil, fmt.Errorf("dpop: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	return &Prover{signer: signer, now: now}, nil
}

// Thumbprint is the SHA-256 thumbprint of the key (RFC 7638): the "jkt" of tokens that are bound to it.
func (p *Prover) Thumbprint() string { return p.signer.Key().Thumbprint() }

// Proof makes a proof for one request: its method and its absolute URI, the nonce that the server gave or an empty one, and
// the access token that is sent along or an empty one.
func (p *Prover) Proof(method, uri, nonce, token string) (string, error) {
	if method == "" {
		return "", errors.New("dpop: a proof is for a method")
	}
	if _, _, ok := normalize(uri); !ok {
		return "", errors.New("dpop: a proof is for an absolute https or http URI")
	}
	uri, _ = cutAt(uri, '#')
	uri, _ = cutAt(uri, '?')
	hash := ""
	if token != "" {
		hash = TokenHash(token)
	}
	payload, err := jose.Encode(struct {
		ID       string `json:"jti"`
		Method   string `json:"htm"`
		URI      string `json:"htu"`
		IssuedAt int64  `json:"iat"`
		Token    string `json:"ath,omitempty"`
		Nonce    string `json:"nonce,omitempty"`
	}{rand.Text(), method, uri, p.now().Unix(), hash, nonce})
	if err != nil {
		return "", err
	}
	return p.signer.SignProof(payload)
}
