package policy

import (
	"errors"

	"github.com/onbehalf/obo/delegation"
)

// Set is a compiled bundle. It never changes and may be read by many goroutines at once.
type Set struct {
	org     delegation.OrgID
	version string
	schema  string
}

// Compile checks a bundle and makes it ready to decide. What is wrong with it comes back as an *InvalidError with every
// problem that was found.
func Compile(b Bundle) (*Set, error) { return nil, errors.New("policy: not there yet") }

// Version is the bundle's version; every decision carries it.
func (s *Set) Version() string { return s.version }

// Org is the org that the set decides for.
func (s *Set) Org() delegation.OrgID { return s.org }

// Schema is the schema that the policies were validated against, in Cedar's own notation.
func (s *Set) Schema() string { return s.schema }

// Exchange decides each requested scope alone, and answers in the order of the request.
func (s *Set) Exchange(r ExchangeRequest) []Decision { return make([]Decision, len(r.Scopes)) }

// Call decides one call by its very arguments.
func (s *Set) Call(r CallRequest) Decision { return Decision{} }
