package delegation

import (
	"context"

	"github.com/onbehalf/obo/jose"
)

// KeySource finds the issuer's key of an id and algorithm. It is asked at every use of a token, so what is known must be
// answered from memory. It returns an error that wraps ErrUnknownKey when the issuer has no such key, and one that wraps
// ErrUnavailable when that cannot be known now.
type KeySource interface {
	Key(ctx context.Context, kid string, alg jose.Algorithm) (jose.Key, error)
}

// StaticKeys is a KeySource that never changes.
func StaticKeys(keys jose.KeySet) KeySource { return staticKeys{keys} }

type staticKeys struct{ set jose.KeySet }

func (s staticKeys) Key(_ context.Context, kid string, alg jose.Algorithm) (jose.Key, error) {
	key, ok := s.set.Find(kid, alg)
	if !ok {
		return jose.Key{}, ErrUnknownKey
	}
	return key, nil
}
