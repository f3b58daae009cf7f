package executor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/store"
)

// Presented is a delegation token and what came with it. Doors find it; only this package judges it.
type Presented struct {
	Scheme      string // "Bearer" or "DPoP", in any case
	Token       string
	Proofs      []string // the values of DPoP
	Method, URI string   // of this request, as a proof names them: htm and htu

	Certificates []*x509.Certificate // of the TLS connection: the leaf first; nobody has judged them
}

// Format prints a Presented without its token and proofs, whatever the verb.
func (p Presented) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Presented(%.16q, %s)", p.Scheme, p.URI)
}

// LogValue is the same for slog.
func (p Presented) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// dpop reports whether the caller says that it has the key.
func (p Presented) dpop() bool { return strings.EqualFold(p.Scheme, "DPoP") }

// Verifier verifies delegation tokens. It MUST accept only those whose audience is this executor and nothing else (EX2), and
// MUST fail when it cannot know what is revoked (EX4). *delegation.Verifier does, with AcceptBound.
type Verifier interface {
	// VerifyPossessed MUST answer delegation.ErrBound when what the token is bound to was not proven (EX5).
	VerifyPossessed(ctx context.Context, token string, p delegation.Possession) (delegation.Verified, error)
	// Verify accepts a token whatever it is bound to. It is asked whose token was refused, for the trail.
	Verify(ctx context.Context, token string) (delegation.Verified, error)
}

// Proofs remembers the proofs of possession that an org's callers have used. Consume MUST answer nil to exactly one caller
// for a key, across replicas and restarts, and store.ErrConflict to every other until `until`.
type Proofs interface {
	Consume(ctx context.Context, key [32]byte, until time.Time) error
}

// Admit verifies a token and what was presented with it (EX1 to EX6), and uses the proof up. It is for what needs a token and
// is no call. The nonce is for the caller's next proof; empty when none is needed.
func (s *Service) Admit(ctx context.Context, p Presented) (v delegation.Verified, nonce string, err error) {
	v, refused := s.admit(ctx, p)
	if refused != nil {
		return delegation.Verified{}, "", refused
	}
	return v, s.nonce(ctx, p), nil
}

// admit is Admit. When it refuses, it still says whose token it was, if the token itself is good: that somebody has a token
// and not its key is for the trail.
func (s *Service) admit(ctx context.Context, p Presented) (delegation.Verified, *Error) {
	proof, refused := s.possession(p)
	if refused == nil {
		v, err := s.Verifier.VerifyPossessed(ctx, p.Token, proof.Possession)
		switch {
		case err == nil:
			return v, s.use(ctx, v.OrgID(), proof)
		case !errors.Is(err, delegation.ErrBound):
			return delegation.Verified{}, tokenError(err)
		}
		refused = boundError(p, err)
	}
	v, err := s.Verifier.Verify(ctx, p.Token)
	if err != nil {
		return delegation.Verified{}, tokenError(err)
	}
	return v, refused
}

// proven is what a caller has proven, and the proof that must not be used again.
type proven struct {
	delegation.Possession
	proof *dpop.Proof // nil without one
}

// possession checks the proof, for this very request and token (DP6), and reads the client certificate (MT2). The chain of
// the certificate does not matter: its key does, and TLS has proven that (RFC 8705 §6.2).
func (s *Service) possession(p Presented) (proven, *Error) {
	var out proven
	if len(p.Certificates) > 0 {
		out.X5T = delegation.CertificateThumbprint(p.Certificates[0])
	}
	switch {
	case !p.dpop() && s.RequireDPoP:
		return out, &Error{Reason: InvalidToken, Description: "this executor takes tokens that are bound to a key, with a DPoP proof"}
	case !p.dpop():
		return out, nil
	}
	proof, err := s.Checker.Check(dpop.Request{Proofs: p.Proofs, Method: p.Method, URI: p.URI, Token: p.Token})
	if err != nil {
		return out, s.proofError(err)
	}
	out.JKT, out.proof = proof.JKT, &proof
	return out, nil
}

// use marks the proof as used, whichever replica it is shown to (DP3). Only now is it known that its sender has a token: who
// has none cannot fill the store.
func (s *Service) use(ctx context.Context, org delegation.OrgID, p proven) *Error {
	if p.proof == nil {
		return nil
	}
	err := s.Proofs(org).Consume(ctx, p.proof.Key(), p.proof.Until())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrConflict):
		return &Error{Reason: InvalidProof, Description: "the DPoP proof was used before: make one for each request", cause: err}
	}
	return unavailable("it cannot be known whether the DPoP proof was used before", err)
}

// proofError says why a proof is refused. Whoever needs a nonce gets one (DP4).
func (s *Service) proofError(err error) *Error {
	switch {
	case errors.Is(err, dpop.ErrUnavailable):
		return unavailable("the DPoP proof cannot be checked now", err)
	case !errors.Is(err, dpop.ErrNonce):
		return &Error{Reason: InvalidProof, Description: strings.TrimPrefix(err.Error(), "dpop: "), cause: err}
	}
	nonce, issueErr := s.Checker.Nonce()
	if issueErr != nil {
		return unavailable("no nonce can be made now", issueErr)
	}
	return &Error{
		Reason: UseNonce, Description: "the DPoP proof needs the nonce that comes with this answer", Nonce: nonce, cause: err,
	}
}

// nonce is for the next proof of a caller that makes proofs; empty when none is demanded.
func (s *Service) nonce(ctx context.Context, p Presented) string {
	if !p.dpop() {
		return ""
	}
	nonce, err := s.Checker.Nonce()
	if err != nil { // the next request is told to use one, and tries again
		s.Log.WarnContext(ctx, "no nonce can be made", "error", err)
	}
	return nonce
}

// boundError says what is missing: the key, or the right one.
func boundError(p Presented, err error) *Error {
	why := "the token is bound to a key: present it as DPoP with a proof, or over TLS with the client certificate that it names"
	if p.dpop() {
		why = "the token is not bound to the key of the DPoP proof"
	}
	return &Error{Reason: InvalidToken, Description: why, cause: err}
}
