package revocation

import (
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

var errUnfinished = errors.New("revocation: not written yet")

// DefaultStaleAfter is how long a Set answers without having heard from its source.
const DefaultStaleAfter = 5 * time.Second

// Set is what is revoked, as far as this process has heard. It implements delegation.Revocations.
type Set struct{}

// NewSet returns an empty set that refuses everything until Heard is called, and whenever the last Heard is longer than
// staleAfter ago (0 means DefaultStaleAfter).
func NewSet(staleAfter time.Duration) *Set { return &Set{} }

// Check implements delegation.Revocations: nil, delegation.ErrRevoked (wrapped, says by which key) or
// delegation.ErrUnavailable when the set is stale.
func (s *Set) Check(c *delegation.Claims, now time.Time) error { return errUnfinished }

// CheckConnection is Check for a connection: iat is when the credential was put or the token that uses it was issued.
func (s *Set) CheckConnection(org delegation.OrgID, id string, iat, now time.Time) error {
	return errUnfinished
}

// Fresh returns nil, or delegation.ErrUnavailable when the set is stale.
func (s *Set) Fresh(now time.Time) error { return errUnfinished }

// Add adds entries.
func (s *Set) Add(entries ...store.Revocation) {}

// Replace replaces all entries at once: no Check sees a mixture.
func (s *Set) Replace(entries []store.Revocation) {}

// Entries returns a copy of the live entries, in no order, without reasons.
func (s *Set) Entries(now time.Time) []store.Revocation { return nil }

// Expire forgets the entries whose Until has passed.
func (s *Set) Expire(now time.Time) {}

// Len returns how many entries there are.
func (s *Set) Len() int { return 0 }

// Heard says that the set was complete at that time.
func (s *Set) Heard(at time.Time) {}
