package exchange

import (
	"slices"
	"strings"

	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/policy"
)

// readDetails reads authorization_details by the org's types, which are closed: what is not registered is refused (RA1, RA2).
func readDetails(raw string, types rar.Types) (rar.Details, *Error) {
	if raw == "" {
		return rar.Details{}, nil
	}
	d, err := types.Parse([]byte(raw))
	if err != nil {
		return rar.Details{}, refuse(InvalidAuthorizationDetails, "authorization_details", err, "authorization_details: %s",
			strings.TrimPrefix(err.Error(), rar.ErrDetails.Error()+": "))
	}
	return d, nil
}

// details is what policy will be asked for: what the request names, else what the parent has. Neither may be wider than what
// it comes from: on a first hop the types that the agent is registered for, then the parent's details (RA3). The resource
// plays no part in this (RA9).
func (f *Facts) details(h hop) (rar.Details, error) {
	asked := f.Want.Details
	if h == firstHop {
		for _, d := range asked.List() {
			if !slices.Contains(f.Actor.Registration.DetailTypes, d.Type) {
				return rar.Details{}, refusedDetails(nil,
					"agent %s is not registered for authorization_details of type %s", f.Actor.Name, d.Type)
			}
		}
		return asked, nil
	}
	raw := f.Subject.claims.AuthorizationDetails
	if len(raw) == 0 && asked.Empty() {
		return asked, nil
	}
	var parent rar.Details
	if len(raw) > 0 {
		var err error
		if parent, err = f.Org.DetailTypes().Parse(raw); err != nil {
			return rar.Details{}, refuse(SubjectTokenInvalid, "subject_token", err,
				"subject_token: its authorization_details are of a type that the org has changed or removed; start over from a login")
		}
	}
	if asked.Empty() {
		return parent, nil
	}
	if err := asked.Within(parent); err != nil {
		return rar.Details{}, refusedDetails(err, "authorization_details: %s", strings.TrimPrefix(err.Error(), "rar: "))
	}
	return asked, nil
}

// judgeDetails asks policy for each object alone, as for scopes: one that was named and is refused refuses the whole; of
// those that were not named, what policy allows is granted. Then what is not for the resource is left out (RA6).
func (f *Facts) judgeDetails(question policy.ExchangeRequest, asked rar.Details, seen *evidence) (rar.Details, error) {
	if asked.Empty() {
		return asked, nil
	}
	question.Scopes, question.Details = nil, asked.List()
	refused := map[string]bool{}
	for i, d := range f.Org.Policy().Details(question) {
		one := question.Details[i]
		switch {
		case d.Allowed:
			seen.policies = append(seen.policies, d.Policies...)
		case !f.Want.Details.Empty():
			e := refusedDetails(nil, "policy refuses authorization_details of type %s to the agent: %s", one.Type, d.Reason)
			e.evidence = evidence{version: d.Version, policies: d.Policies}
			return rar.Details{}, e
		default:
			refused[string(one.JSON)] = true
		}
	}
	return asked.Keep(func(d rar.Detail) bool { return !refused[string(d.JSON)] }).At(question.Audience), nil
}

// refusedDetails: the details are in order, and they are not to be had.
func refusedDetails(cause error, format string, args ...any) *Error {
	return refuse(InvalidAuthorizationDetails, "", cause, format, args...)
}
