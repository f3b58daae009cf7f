package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// ResealStore is one org's data key, to be sealed anew. ResealDataKey MUST answer store.ErrConflict unless the stored bytes are the
// old ones, also when the key was deleted: one that was shredded must not come back.
type ResealStore interface {
	DataKey(ctx context.Context) (store.DataKey, error)
	ResealDataKey(ctx context.Context, old, sealed []byte) error
}

// SealedUnder is the key-encryption key that seals the org's data key; false when the org has none.
func SealedUnder(ctx context.Context, s ResealStore) (seal.ID, bool, error) {
	row, err := s.DataKey(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	id, err := seal.UnderWrapped(row.Sealed)
	if err != nil {
		return 0, false, fmt.Errorf("%w: a data key: %w", ErrOpen, err)
	}
	return id, true, nil
}

// Reseal seals the org's data key under the key that kek seals with now, and reports whether it had to. Credentials stay as they
// are: the data key that they are sealed with is the same.
func Reseal(ctx context.Context, s ResealStore, kek seal.Key, org delegation.OrgID) (bool, error) {
	for {
		row, err := s.DataKey(ctx)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		sealed, again, err := kek.Rewrap(row.Sealed, wrapping(org, row.Version))
		if err != nil {
			return false, fmt.Errorf("%w: data key of org %s: %w", ErrOpen, org, err)
		}
		if !again {
			return false, nil
		}
		err = s.ResealDataKey(ctx, row.Sealed, sealed)
		switch {
		case err == nil:
			return true, nil
		case !errors.Is(err, store.ErrConflict): // else somebody does the same, or shredded it
			return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}
