package exchange

import (
	"slices"
	"strings"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/policy"
)

// scope is what policy will be asked for: what the request names, else all there is. There is what the parent has or, on a
// first hop, what the agent is registered for; an empty set is nothing, never everything (TX23).
func (f *Facts) scope(h hop) (delegation.Scopes, error) {
	widest := f.Subject.claims.Scope
	if h == firstHop {
		var err error
		if widest, err = f.registered(); err != nil {
			return widest, err
		}
	}
	if f.Want.AnyScope {
		if widest.Empty() {
			return widest, refuse(InvalidScope, "", nil, "there is no scope to grant")
		}
		return widest, nil
	}
	if beyond := f.Want.Scope.Without(widest); !beyond.Empty() {
		if h == firstHop {
			return widest, refuse(InvalidScope, "", nil, "%s: %s", f.bounds(), beyond)
		}
		return widest, refuse(InvalidScope, "", nil, "the subject_token does not have: %s", beyond)
	}
	return f.Want.Scope, nil
}

// rights are what policy granted.
type rights struct {
	scope   delegation.Scopes
	details rar.Details
}

// judge finds what is asked for and asks policy for it.
func (f *Facts) judge(h hop, audience string) (rights, evidence, error) {
	scope, err := f.scope(h)
	if err != nil {
		return rights{}, evidence{}, err
	}
	details, err := f.details(h)
	if err != nil {
		return rights{}, evidence{}, err
	}
	chain := f.chain(h)
	question := policy.ExchangeRequest{
		Actor: f.Actor.ID, Subject: f.user(), Chain: chain, Depth: len(chain), Audience: audience, Life: f.life(), Now: f.Now,
		ClientIP: f.RemoteIP, Scopes: scope.List(),
	}
	var granted rights
	seen := evidence{version: f.Org.Policy().Version()}
	if granted.scope, err = f.judgeScopes(question, &seen); err != nil {
		return rights{}, seen, err
	}
	if granted.details, err = f.judgeDetails(question, details, &seen); err != nil {
		return rights{}, seen, err
	}
	slices.Sort(seen.policies)
	seen.policies = slices.Compact(seen.policies)
	return granted, seen, nil
}

// judgeScopes asks policy for each scope alone. A scope that was named and is refused refuses the whole; when none was named,
// what policy allows is granted.
func (f *Facts) judgeScopes(question policy.ExchangeRequest, seen *evidence) (delegation.Scopes, error) {
	names := question.Scopes
	var granted []string
	var refused []policy.Decision
	for i, d := range f.Org.Policy().Exchange(question) {
		switch {
		case d.Allowed:
			granted = append(granted, names[i])
			seen.policies = append(seen.policies, d.Policies...)
		case !f.Want.AnyScope:
			return delegation.Scopes{}, forbidden(names[i], d)
		default:
			refused = append(refused, d)
		}
	}
	if len(granted) == 0 {
		return delegation.Scopes{}, forbidden(strings.Join(names, " "), refused...)
	}
	return delegation.NewScopes(granted...)
}

// forbidden is policy's refusal, with the policies that refused: none of them when no policy permitted.
func forbidden(scopes string, decisions ...policy.Decision) *Error {
	e := denied("policy refuses %s to the agent", scopes)
	for _, d := range decisions {
		e.evidence.version = d.Version
		e.evidence.policies = append(e.evidence.policies, d.Policies...)
		if len(decisions) == 1 && d.Reason != "" {
			e.Description = printable(e.Description + ": " + d.Reason)
		}
	}
	slices.Sort(e.evidence.policies)
	e.evidence.policies = slices.Compact(e.evidence.policies)
	return e
}

// user is the subject as policy sees it: the same at the mint and at the call.
func (f *Facts) user() policy.Subject {
	if l := f.Subject.login; l != nil {
		return policy.Subject{ID: l.subject.ID, Groups: l.subject.Groups, ACR: l.subject.ACR, AMR: l.subject.AMR}
	}
	c := &f.Subject.claims
	return policy.Subject{ID: c.Subject, Groups: c.Groups, ACR: c.ACR, AMR: c.AMR}
}

// chain is the new token's chain, the current actor first.
func (f *Facts) chain(h hop) []string {
	switch before := f.Subject.claims.Chain(); h {
	case firstHop:
		return []string{f.Actor.ID}
	case continuation:
		return before
	default:
		return append([]string{f.Actor.ID}, before...)
	}
}
