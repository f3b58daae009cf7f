package policy

import "github.com/onbehalf/obo/delegation/rar"

// DetailTypes are the org's types of authorization_details.
func (s *Set) DetailTypes() rar.Types { return rar.Types{} }

// Details decides each detail alone, in the order of the request.
func (s *Set) Details(r ExchangeRequest) []Decision { return make([]Decision, len(r.Details)) }
