package keys

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// held is a key that this process can sign with.
type held struct {
	kid    string
	sealed []byte
	source string
	signer jose.Signer
}

// associated binds a sealed private key to what it is: under another kid or algorithm it does not open.
func associated(kid string, alg jose.Algorithm) []byte {
	return []byte("obo signing key|" + kid + "|" + string(alg))
}

// records is the public part of what is stored, in signing order.
func records(stored []store.SigningKey) []Record {
	out := make([]Record, len(stored))
	for i, k := range stored {
		out[i] = Record{KID: k.KID, Algorithm: jose.Algorithm(k.Algorithm), Published: k.Published, Activate: k.Activate,
			Deactivate: k.Deactivate, Remove: k.Remove}
	}
	return sorted(out)
}

// realize turns planned records into what is stored: kept keys with their new times, and new keys made.
func (r *Ring) realize(ctx context.Context, planned []Record, stored []store.SigningKey) ([]store.SigningKey, error) {
	out := make([]store.SigningKey, 0, len(planned))
	for _, p := range planned {
		var k store.SigningKey
		if i := slices.IndexFunc(stored, func(k store.SigningKey) bool { return k.KID == p.KID }); p.KID != "" && i >= 0 {
			k = stored[i]
		} else {
			var err error
			if k, err = r.generate(ctx, p.Algorithm); err != nil {
				return nil, err
			}
		}
		k.Published, k.Activate, k.Deactivate, k.Remove = p.Published, p.Activate, p.Deactivate, p.Remove
		out = append(out, k)
	}
	return out, nil
}

// generate makes a key where new keys are to be. Its id is its thumbprint (RFC 7638), so ids never clash.
func (r *Ring) generate(ctx context.Context, alg jose.Algorithm) (store.SigningKey, error) {
	if name := r.cfg.Source; name != "" {
		ref, err := r.cfg.Sources[name].Generate(ctx, alg)
		if err != nil {
			return store.SigningKey{}, fmt.Errorf("%w: %s: %w", ErrSource, name, err)
		}
		return r.refer(ctx, alg, reference{name, ref})
	}
	private, err := jose.Generate(alg)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: generate: %w", err)
	}
	public, err := jose.NewKey("", alg, private.Public())
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: generate: %w", err)
	}
	kid := public.Thumbprint()
	if public, err = jose.NewKey(kid, alg, private.Public()); err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: generate: %w", err)
	}
	secret, err := jose.MarshalPrivateJWK(kid, alg, private)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: generate: %w", err)
	}
	defer clear(secret)
	return r.sealed(public, secret)
}

// open makes a state of what is stored. What was open already stays open.
func (r *Ring) open(ctx context.Context, now time.Time, stored []store.SigningKey) (*state, error) {
	s := &state{records: records(stored), read: now}
	before := r.state.Load()
	var public []jose.Key
	for _, record := range s.records {
		k := stored[slices.IndexFunc(stored, func(k store.SigningKey) bool { return k.KID == record.KID })]
		h, ok := before.holds(k)
		if !ok {
			var err error
			if h, err = r.unseal(ctx, k); err != nil {
				return nil, err
			}
		}
		s.held = append(s.held, h)
		public = append(public, h.signer.Key())
	}
	s.set = jose.NewKeySet(public...)
	s.jwks = s.set.JSON()
	return s, nil
}

func (s *state) holds(k store.SigningKey) (held, bool) {
	if s == nil {
		return held{}, false
	}
	i := slices.IndexFunc(s.held, func(h held) bool { return h.kid == k.KID && bytes.Equal(h.sealed, k.Sealed) })
	if i < 0 || string(s.held[i].signer.Key().Algorithm()) != k.Algorithm {
		return held{}, false
	}
	return s.held[i], true
}

// unseal opens a stored key. The public key that is published comes from the sealed private one and never from the column
// beside it: who can write to the store could otherwise publish a key of their own (threat: forged tokens).
func (r *Ring) unseal(ctx context.Context, k store.SigningKey) (held, error) {
	secret, err := r.cfg.Key.Open(k.Sealed, associated(k.KID, jose.Algorithm(k.Algorithm)))
	if err != nil {
		return held{}, fmt.Errorf("%w: kid %q: %w", ErrSealed, k.KID, err)
	}
	defer clear(secret)
	var ref reference
	if err := jose.DecodeClaims(secret, &ref); err == nil && ref.Source != "" {
		signer, err := r.outside(ctx, k.KID, jose.Algorithm(k.Algorithm), ref)
		return held{kid: k.KID, sealed: bytes.Clone(k.Sealed), source: ref.Source + ":" + ref.Reference, signer: signer}, err
	}
	signer, err := jose.ParsePrivateJWK(secret)
	if err != nil {
		return held{}, fmt.Errorf("%w: kid %q: %w", ErrSealed, k.KID, err)
	}
	if key := signer.Key(); key.KeyID() != k.KID || string(key.Algorithm()) != k.Algorithm {
		return held{}, fmt.Errorf("%w: kid %q holds another key", ErrSealed, k.KID)
	}
	return held{kid: k.KID, sealed: bytes.Clone(k.Sealed), source: inStore, signer: signer}, nil
}
