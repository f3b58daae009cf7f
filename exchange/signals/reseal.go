package signals

import (
	"context"
	"errors"
	"fmt"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// ResealStore is the credentials of one org's polled streams, to be sealed anew. ResealSignalCredential MUST answer
// store.ErrConflict unless the stored bytes are the old ones.
type ResealStore interface {
	SignalCredentials(ctx context.Context) ([]store.SignalCredential, error)
	ResealSignalCredential(ctx context.Context, stream string, old, sealed []byte) error
}

// Reseal seals the org's credentials under the key that kek seals with now, and says how many it were. One that was replaced or
// forgotten meanwhile is left as it is: the new one is sealed under the new key.
func Reseal(ctx context.Context, s ResealStore, kek seal.Key, org delegation.OrgID) (int, error) {
	all, err := s.SignalCredentials(ctx)
	if err != nil {
		return 0, fmt.Errorf("signals: credentials of org %s: %w", org, err)
	}
	changed := 0
	for _, c := range all {
		sealed, again, err := kek.Reseal(c.Sealed, CredentialBinding(org, c.Stream, c.Endpoint))
		if err != nil {
			return changed, fmt.Errorf("signals: credential of stream %s of org %s: %w", c.Stream, org, err)
		}
		if !again {
			continue
		}
		err = s.ResealSignalCredential(ctx, c.Stream, c.Sealed, sealed)
		switch {
		case err == nil:
			changed++
		case !errors.Is(err, store.ErrConflict):
			return changed, fmt.Errorf("signals: credential of stream %s of org %s: %w", c.Stream, org, err)
		}
	}
	return changed, nil
}
