package policy

import (
	"iter"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// index finds the policies whose scopes fit a request without looking at the others, so that a decision costs the same among
// ten policies and ten thousand. It is a trie over the three parts of a scope: what the principal must be, then the action, then
// the resource. It may answer with too many policies, never with too few: cedar looks at the scope again.
type index map[constraint]byAction

type (
	byAction   map[constraint]byResource
	byResource map[constraint]candidates
)

// constraint is one part of a scope.
type constraint struct {
	relation relation
	entity   types.EntityUID // of is: the type alone
}

type relation byte

const (
	anything relation = iota
	equal
	inside
	ofType
)

type candidate struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// candidates are policies as cedar wants to be given them.
type candidates []candidate

// All implements cedar.PolicyIterator.
func (c candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range c {
			if !yield(p.id, p.policy) {
				return
			}
		}
	}
}

// found is a selection: lists from several places of the index.
type found []candidates

// All implements cedar.PolicyIterator.
func (f *found) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, list := range *f {
			for _, p := range list {
				if !yield(p.id, p.policy) {
					return
				}
			}
		}
	}
}

func newIndex(policies candidates) index {
	ix := index{}
	for _, c := range policies {
		p := (*ast.Policy)(c.policy.AST())
		principal := constraintOf(p.Principal)
		actions := ix[principal]
		if actions == nil {
			actions = byAction{}
			ix[principal] = actions
		}
		// A policy on a list of actions stands at each of them. A request may meet it twice then; its id is named once.
		for _, a := range actionConstraints(p.Action) {
			resources := actions[a]
			if resources == nil {
				resources = byResource{}
				actions[a] = resources
			}
			r := constraintOf(p.Resource)
			resources[r] = append(resources[r], c)
		}
	}
	return ix
}

// constraintOf reads a principal's or a resource's scope. Of `is T in E` it keeps the second half, which is the narrower.
func constraintOf(scope ast.IsScopeNode) constraint {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return constraint{equal, s.Entity}
	case ast.ScopeTypeIn:
		return constraint{inside, s.Entity}
	case ast.ScopeTypeIsIn:
		return constraint{inside, s.Entity}
	case ast.ScopeTypeIs:
		return constraint{ofType, types.EntityUID{Type: s.Type}}
	case ast.ScopeTypeAll, ast.ScopeTypeInSet:
	}
	return constraint{}
}

func actionConstraints(scope ast.IsActionScopeNode) []constraint {
	set, ok := scope.(ast.ScopeTypeInSet)
	if !ok {
		return []constraint{constraintOf(scope)}
	}
	var out []constraint
	seen := map[types.EntityUID]bool{}
	for _, e := range set.Entities {
		if !seen[e] {
			seen[e] = true
			out = append(out, constraint{inside, e})
		}
	}
	return out
}

// fits are the constraints that an entity with these ancestors fulfils.
func fits(uid types.EntityUID, ancestors []types.EntityUID) []constraint {
	out := make([]constraint, 0, 4+len(ancestors))
	ofItsType := constraint{ofType, types.EntityUID{Type: uid.Type}}
	out = append(out, constraint{}, ofItsType, constraint{equal, uid}, constraint{inside, uid})
	for _, a := range ancestors {
		out = append(out, constraint{inside, a})
	}
	return out
}

// principal is the first step of a search. It depends on the bundle alone and is taken once for each agent.
func (ix index) principal(is []constraint) []byAction {
	var out []byAction
	for _, c := range is {
		if next := ix[c]; next != nil {
			out = append(out, next)
		}
	}
	return out
}

// chooseAction is the second step.
func chooseAction(from []byAction, is []constraint) []byResource {
	var out []byResource
	for _, node := range from {
		for _, c := range is {
			if next := node[c]; next != nil {
				out = append(out, next)
			}
		}
	}
	return out
}

// chooseResource is the last step. It adds to what was found.
func chooseResource(into found, from []byResource, is []constraint) found {
	for _, node := range from {
		for _, c := range is {
			if list := node[c]; list != nil {
				into = append(into, list)
			}
		}
	}
	return into
}
