// Package dpop is proof of possession by RFC 9449: it reads proofs, makes proofs, and hands out nonces. Both servers, the
// verifier middleware and the client library use it.
package dpop

import (
	"context"
	"crypto"
	"errors"
	"time"
)

// Request is an HTTP request whose sender says that it has a key.
type Request struct {
	Proofs      []string // the values of the DPoP header, or of the gRPC metadata "dpop": exactly one is a proof
	Method, URI string   // of the request; the query and the fragment of the URI do not count
	Token       string   // the access token that is used, at a resource; empty at the authorization server
}

// Proof is a DPoP proof that Check accepted. It is good for one request only: see Key.
type Proof struct {
	JKT string // the SHA-256 thumbprint of the key (RFC 7638), as in "cnf"

	key   [32]byte
	until time.Time
}

// Key names the proof in a Replay: a hash of its key's thumbprint, its target URI and its jti.
func (p Proof) Key() [32]byte { return p.key }

// Until is when the Key may be forgotten, because Check refuses the proof by its age from then on.
func (p Proof) Until() time.Time { return p.until }

// Why a proof is not accepted. Compare with errors.Is.
var (
	ErrProof       = errors.New("dpop: proof refused")
	ErrNonce       = errors.New("dpop: a nonce is needed")
	ErrUnavailable = errors.New("dpop: cannot be checked now")
)

// Config is what a Checker must know.
type Config struct {
	Now    func() time.Time
	Nonces *Nonces
	Window time.Duration
}

// Checker checks proofs.
type Checker struct{ config Config }

// NewChecker checks the configuration.
func NewChecker(config Config) (*Checker, error) { return &Checker{config}, nil }

// Check accepts a proof for the request.
func (c *Checker) Check(Request) (Proof, error) { return Proof{}, ErrProof }

// Replay reports whether a key is seen for the first time.
type Replay func(ctx context.Context, key [32]byte, until time.Time) (first bool, err error)

// NewMemory is the Replay of one process.
func NewMemory(int) Replay {
	return func(context.Context, [32]byte, time.Time) (bool, error) { return false, ErrUnavailable }
}

// Verifier is a Checker with a Replay, for resource servers.
type Verifier struct{ checker *Checker }

// NewVerifier makes a Verifier.
func NewVerifier(c *Checker, _ Replay) (*Verifier, error) { return &Verifier{c}, nil }

// Verify accepts a proof once and returns the thumbprint of its key.
func (v *Verifier) Verify(_ context.Context, r Request) (jkt string, err error) {
	p, err := v.checker.Check(r)
	return p.JKT, err
}

// Nonce is a fresh nonce to be sent to the client, or empty when none are in use.
func (v *Verifier) Nonce() (string, error) { return "", nil }

// Sealer encrypts and authenticates.
type Sealer interface {
	Seal(plaintext, associated []byte) ([]byte, error)
	Open(sealed, associated []byte) ([]byte, error)
}

// Nonces hands out nonces and knows its own again, on every replica that has the same key (DP4).
type Nonces struct{}

// NewNonces makes nonces for one audience.
func NewNonces(Sealer, string, time.Duration) *Nonces { return &Nonces{} }

// Issue makes a nonce.
func (n *Nonces) Issue(time.Time) (string, error) { return "", ErrUnavailable }

// Valid reports whether a nonce is one of ours and lives.
func (n *Nonces) Valid(string, time.Time) bool { return false }

// Prover makes proofs with one key.
type Prover struct{}

// NewProver makes a Prover.
func NewProver(crypto.Signer, func() time.Time) (*Prover, error) { return &Prover{}, nil }

// Thumbprint is the SHA-256 thumbprint of the key.
func (p *Prover) Thumbprint() string { return "" }

// Proof makes a proof.
func (p *Prover) Proof(_, _, _, _ string) (string, error) { return "", ErrUnavailable }
