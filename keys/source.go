package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// Source is a device or a service that holds private keys and signs with them, so that no process of ours ever has one.
type Source interface {
	// Generate makes a key, and answers with what it is called there.
	Generate(ctx context.Context, alg jose.Algorithm) (reference string, err error)
	// Signer finds a key by what it is called there. It is called once for each key, and the signer is kept.
	Signer(ctx context.Context, reference string) (crypto.Signer, error)
}

// inStore is the source of keys whose private part is sealed in the store.
const inStore = "store"

// reference is what is sealed in the store in place of a private key that a Source holds. It is sealed although it is no secret: who
// can write to the store could otherwise let us sign with another key of the device.
type reference struct {
	Source    string `json:"source"`
	Reference string `json:"reference"`
}

// outside finds the signer of a key that a Source holds. The kid is the key's thumbprint, so that another key under the same name is
// not taken for it.
func (r *Ring) outside(ctx context.Context, kid string, alg jose.Algorithm, ref reference) (jose.Signer, error) {
	source, ok := r.cfg.Sources[ref.Source]
	if !ok {
		return jose.Signer{}, fmt.Errorf("%w: the key is in %q, which this server is not configured for or was not built with (build tag)",
			ErrSource, ref.Source)
	}
	private, err := source.Signer(ctx, ref.Reference)
	if err != nil {
		return jose.Signer{}, fmt.Errorf("%w: %s:%s: %w", ErrSource, ref.Source, ref.Reference, err)
	}
	public, err := jose.NewKey("", alg, private.Public())
	if err != nil {
		return jose.Signer{}, fmt.Errorf("%w: %s:%s: %w", ErrUnwanted, ref.Source, ref.Reference, err)
	}
	if kid != "" && kid != public.Thumbprint() {
		return jose.Signer{}, fmt.Errorf("%w: kid %q: %s:%s is another key", ErrSealed, kid, ref.Source, ref.Reference)
	}
	return jose.NewSigner(public.Thumbprint(), alg, private)
}

// refer makes the stored record of a key that a Source holds.
func (r *Ring) refer(ctx context.Context, alg jose.Algorithm, ref reference) (store.SigningKey, error) {
	s, err := r.outside(ctx, "", alg, ref)
	if err != nil {
		return store.SigningKey{}, err
	}
	text, err := jose.Encode(ref)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: %w", err)
	}
	return r.sealed(s.Key(), text)
}

// sealed makes the stored record of a key.
func (r *Ring) sealed(public jose.Key, secret []byte) (store.SigningKey, error) {
	sealed, err := r.cfg.Key.Seal(secret, associated(public.KeyID(), public.Algorithm()))
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: %w", err)
	}
	return store.SigningKey{KID: public.KeyID(), Algorithm: string(public.Algorithm()), Sealed: sealed, Public: public.JSON()}, nil
}

// ImportRequest is a key of the operator's: either its private part, or where that is.
type ImportRequest struct {
	Algorithm jose.Algorithm
	Private   []byte // JWK or PEM (PKCS #8); to be sealed in the store
	Source    string // or the name of a Source, and
	Reference string // what the key is called there
}

// Import lets a key of the operator's succeed the one that signs with its algorithm, once every verifier has had time to fetch it.
func (r *Ring) Import(ctx context.Context, req ImportRequest) (kid string, err error) {
	k, err := r.imported(ctx, req)
	if err != nil {
		return "", err
	}
	if r.cfg.Burnt(k.KID, r.cfg.Now()) {
		return "", fmt.Errorf("%w: %s was given up", ErrUnwanted, k.KID)
	}
	return k.KID, r.advanceWith(ctx, planImport(k.KID, jose.Algorithm(k.Algorithm)), k)
}

func (r *Ring) imported(ctx context.Context, req ImportRequest) (store.SigningKey, error) {
	if (len(req.Private) > 0) == (req.Source != "") {
		return store.SigningKey{}, fmt.Errorf("%w: give either the private key or where it is", ErrUnwanted)
	}
	if req.Source != "" {
		return r.refer(ctx, req.Algorithm, reference{req.Source, req.Reference})
	}
	secret, err := jose.ImportPrivate(req.Private, req.Algorithm)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("%w: %w", ErrUnwanted, err)
	}
	defer clear(secret)
	signer, err := jose.ParsePrivateJWK(secret)
	if err != nil {
		return store.SigningKey{}, errors.Join(ErrUnwanted, err)
	}
	return r.sealed(signer.Key(), secret)
}
