package keys

import (
	"context"
	"errors"
	"fmt"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// SealedUnder counts the stored keys by the key-encryption key that seals them.
func SealedUnder(ctx context.Context, s Store) (map[seal.ID]int, error) {
	stored, _, err := s.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys: read: %w", err)
	}
	out := map[seal.ID]int{}
	for _, k := range stored {
		id, err := seal.Under(k.Sealed)
		if err != nil {
			return nil, fmt.Errorf("%w: kid %q: %w", ErrSealed, k.KID, err)
		}
		out[id]++
	}
	return out, nil
}

// Reseal seals every stored key under the key that kek seals with now, all in one write, and says how many it were. The keys and
// their times stay as they are. Of several who do it at once one is the first, and the others find it done.
func Reseal(ctx context.Context, s Store, kek seal.Key) (int, error) {
	for {
		stored, generation, err := s.SigningKeys(ctx)
		if err != nil {
			return 0, fmt.Errorf("keys: read: %w", err)
		}
		changed := 0
		for i, k := range stored {
			sealed, again, err := kek.Reseal(k.Sealed, associated(k.KID, jose.Algorithm(k.Algorithm)))
			if err != nil {
				return 0, fmt.Errorf("%w: kid %q: %w", ErrSealed, k.KID, err)
			}
			if again {
				stored[i].Sealed = sealed
				changed++
			}
		}
		if changed == 0 {
			return 0, nil
		}
		err = s.PutSigningKeys(ctx, generation, stored)
		switch {
		case err == nil:
			return changed, nil
		case !errors.Is(err, store.ErrConflict): // else somebody rotated, or does the same
			return 0, fmt.Errorf("keys: reseal: %w", err)
		}
	}
}
