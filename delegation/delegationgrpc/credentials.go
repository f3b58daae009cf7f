package delegationgrpc

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	gcredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
)

// The names in metadata and in the trailer (DP10).
const (
	authorizationName = "authorization"
	authorityName     = ":authority"
	proofName         = "dpop"
	nonceName         = "dpop-nonce"
)

// credentials are what a call presents, and what it has proven beside its token.
type credentials struct {
	proven    bool // by DPoP
	token     string
	possessed delegation.Possession
}

// admit verifies a call once, as it comes in: its token, and the keys that were proven, by each other (DP6, MT2). The proof is
// used up last, when it is known that its sender has a token: a stranger cannot fill the memory of proofs.
func (i *Interceptors) admit(ctx context.Context, method string) (credentials, context.Context, error) {
	c, err := i.credentials(ctx)
	if err != nil {
		return c, nil, err
	}
	var proof dpop.Proof
	if c.proven {
		if proof, err = i.proof(ctx, method, c.token); err != nil {
			return c, nil, i.refuse(ctx, err)
		}
		c.possessed.JKT = proof.JKT
	}
	v, err := i.verify(ctx, c)
	if err != nil {
		return c, nil, err
	}
	if c.proven {
		if err := i.config.DPoP.Use(ctx, proof); err != nil {
			return c, nil, i.refuse(ctx, err)
		}
		_ = i.sendNonce(ctx) // without one the caller will be asked for it; that is no reason to refuse this call
	}
	return c, delegation.NewContext(ctx, v), nil
}

// verify holds the token to the clock, to what was revoked, and to the keys that were proven.
func (i *Interceptors) verify(ctx context.Context, c credentials) (delegation.Verified, error) {
	v, err := i.config.Verifier.VerifyPossessed(ctx, c.token, c.possessed)
	if err != nil {
		return delegation.Verified{}, i.refuse(ctx, err)
	}
	return v, nil
}

// credentials finds the one token of a call, and the client certificate. Two tokens are refused: which of them counts would
// be anybody's guess.
func (i *Interceptors) credentials(ctx context.Context) (credentials, error) {
	var c credentials
	want := "Bearer"
	if i.config.DPoP != nil {
		want = "DPoP"
	}
	values := metadata.ValueFromIncomingContext(ctx, authorizationName)
	if len(values) == 0 {
		return c, refusal(codes.Unauthenticated, "no token: want authorization: "+want+" TOKEN", reasonToken, "invalid_token")
	}
	scheme, token, found := strings.Cut(values[0], " ")
	c.proven, c.token = strings.EqualFold(scheme, "DPoP") && i.config.DPoP != nil, token
	switch {
	case len(values) > 1 || !found || token == "" || !c.proven && !strings.EqualFold(scheme, "Bearer"):
		return c, refusal(codes.Unauthenticated, "want one authorization: "+want+" TOKEN", reasonToken, "invalid_request")
	case !c.proven && i.config.RequireDPoP:
		return c, refusal(codes.Unauthenticated, "this service takes tokens with a DPoP proof only", reasonToken, "invalid_token")
	}
	if p, ok := peer.FromContext(ctx); ok {
		if tls, ok := p.AuthInfo.(gcredentials.TLSInfo); ok && len(tls.State.PeerCertificates) > 0 {
			c.possessed.X5T = delegation.CertificateThumbprint(tls.State.PeerCertificates[0])
		}
	}
	return c, nil
}

// proof checks the proof of a call by the name that the caller used, which must be one of ours.
func (i *Interceptors) proof(ctx context.Context, method, token string) (dpop.Proof, error) {
	uri := ""
	if names := metadata.ValueFromIncomingContext(ctx, authorityName); len(names) == 1 && i.authorities[canonical(names[0])] {
		uri = "https://" + names[0] + method
	}
	return i.config.DPoP.Check(dpop.Request{
		Proofs: metadata.ValueFromIncomingContext(ctx, proofName), Method: http.MethodPost, URI: uri, Token: token,
	})
}

// sendNonce puts a nonce into the trailer, when nonces are asked for.
func (i *Interceptors) sendNonce(ctx context.Context) error {
	nonce, err := i.config.DPoP.Nonce()
	if err != nil || nonce == "" {
		return err
	}
	return grpc.SetTrailer(ctx, metadata.Pairs(nonceName, nonce))
}

// refuse says why a token or its proof is refused.
func (i *Interceptors) refuse(ctx context.Context, err error) error {
	if errors.Is(err, dpop.ErrNonce) {
		if failed := i.sendNonce(ctx); failed != nil {
			return unavailable()
		}
		return refusal(codes.Unauthenticated, "the proof needs the nonce of the trailer dpop-nonce", reasonNonce, "use_dpop_nonce")
	}
	switch {
	case errors.Is(err, delegation.ErrUnavailable), errors.Is(err, dpop.ErrUnavailable):
		return unavailable()
	case errors.Is(err, dpop.ErrProof):
		return refusal(codes.Unauthenticated, strings.TrimPrefix(err.Error(), "dpop: "), reasonProof, "invalid_dpop_proof")
	}
	return refusal(codes.Unauthenticated, "the token was refused: "+delegation.Describe(err), reasonToken, "invalid_token")
}
