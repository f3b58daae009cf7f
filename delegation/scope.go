package delegation

import (
	"fmt"
	"slices"
	"strings"
)

// The limits of a scope set.
const (
	maxScopes      = 100
	maxScopeLength = 128 // bytes
)

// Scopes is an immutable set of OAuth scopes, sorted. The zero Scopes is empty, and an empty set allows nothing. In
// JSON it is one space-separated string (RFC 8693 §4.2); an array is refused (ACT11).
type Scopes struct{ list []string }

// ParseScopes reads a scope string (RFC 6749 §3.3): scopes of %x21 %x23-5B %x5D-7E, single spaces between them, at most
// 100 of at most 128 bytes. The empty string is the empty set. The error wraps ErrMalformed.
func ParseScopes(s string) (Scopes, error) {
	if s == "" {
		return Scopes{}, nil
	}
	if len(s) > maxScopes*(maxScopeLength+1) || strings.Count(s, " ") >= maxScopes {
		return Scopes{}, fmt.Errorf("%w: more than %d scopes of %d bytes", ErrMalformed, maxScopes, maxScopeLength)
	}
	return NewScopes(strings.Split(s, " ")...)
}

// NewScopes makes a set of scopes, each by the rules of ParseScopes. Repeated ones count once.
func NewScopes(scopes ...string) (Scopes, error) {
	for _, s := range scopes {
		if !isScope(s) {
			return Scopes{}, fmt.Errorf("%w: scope %q", ErrMalformed, clip(s))
		}
	}
	list := slices.Clone(scopes)
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > maxScopes {
		return Scopes{}, fmt.Errorf("%w: more than %d scopes", ErrMalformed, maxScopes)
	}
	return Scopes{list: list}, nil
}

func isScope(s string) bool {
	if s == "" || len(s) > maxScopeLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// String is the scopes in order, with single spaces.
func (s Scopes) String() string { return strings.Join(s.list, " ") }

// List returns the scopes in order.
func (s Scopes) List() []string { return slices.Clone(s.list) }

// Len is the number of scopes.
func (s Scopes) Len() int { return len(s.list) }

// Empty reports whether the set allows nothing.
func (s Scopes) Empty() bool { return len(s.list) == 0 }

// Contains reports whether scope is in the set. Scopes are compared byte for byte; none implies another.
func (s Scopes) Contains(scope string) bool {
	_, found := slices.BinarySearch(s.list, scope)
	return found
}

// Equal reports whether both sets hold the same scopes.
func (s Scopes) Equal(other Scopes) bool { return slices.Equal(s.list, other.list) }

// SubsetOf reports whether every scope is in other too.
func (s Scopes) SubsetOf(other Scopes) bool { return s.Without(other).Empty() }

// Intersect is the set of scopes that are in both.
func (s Scopes) Intersect(other Scopes) Scopes { return s.filter(other.Contains) }

// Without is the set of scopes that are not in other.
func (s Scopes) Without(other Scopes) Scopes {
	return s.filter(func(scope string) bool { return !other.Contains(scope) })
}

func (s Scopes) filter(keep func(string) bool) Scopes {
	var list []string
	for _, scope := range s.list {
		if keep(scope) {
			list = append(list, scope)
		}
	}
	return Scopes{list: list}
}

// IsZero lets JSON leave an empty set out.
func (s Scopes) IsZero() bool { return s.Empty() }

// MarshalText writes String, so that JSON gets one string.
func (s Scopes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseScopes reads.
func (s *Scopes) UnmarshalText(text []byte) error {
	parsed, err := ParseScopes(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
