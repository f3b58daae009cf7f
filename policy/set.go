package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/store"
)

// Set is a compiled bundle. It never changes and may be read by many goroutines at once.
type Set struct {
	org      delegation.OrgID
	version  string
	schema   string
	validate *validate.Validator
	world    *world
	tools    map[string]callable
	scopes   map[string]place
	agents   map[string]principal // by agent id
	types    rar.Types
	details  map[string]detail // by type
	policies candidates
	absent   []string
}

// place is an entity with the constraints that it fulfils.
type place struct {
	uid  types.EntityUID
	fits []constraint
}

// principal is an agent with where the index leads for it.
type principal struct {
	uid      types.EntityUID
	next     []byAction
	exchange []byResource // after the action "exchange"
}

// callable is a tool as Call needs it.
type callable struct {
	action   place
	tool     types.EntityUID
	provider string
	args     *shape
	parents  types.EntityUIDSet // of every connection of its provider
	above    []constraint       // what every such connection fulfils
	details  []detailType       // that govern it: a call needs one of each
}

// Compile checks a bundle and makes it ready to decide. What is wrong with it comes back as an *InvalidError with every problem
// that was found, up to a hundred.
//
// A platform policy about a tool that this org does not have is left out, for it guards nothing there. In a bundle of
// store.PlatformOrg it is an error: compile the platform's policies with every known provider before accepting them.
func Compile(b Bundle) (*Set, error) {
	var found findings
	if _, err := delegation.ParseOrgID(string(b.Org)); err != nil && b.Org != store.PlatformOrg {
		found.add(Problem{Message: err.Error()})
		return nil, found.err()
	}
	for _, a := range b.Agents {
		if _, _, err := delegation.ParseAgentID(delegation.AgentID(b.Org, a.Name)); err != nil && b.Org != store.PlatformOrg {
			found.add(Problem{Message: err.Error()})
		}
	}
	tools := collectTools(b.Providers, &found)
	registered, details := collectDetails(b.DetailTypes, tools, &found)
	if err := found.err(); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("// The policy schema of org %s. It is generated: tools and arguments come from the providers.\n", b.Org) +
		schemaText(tools, details)
	schema, err := resolve(text)
	if err != nil {
		return nil, err
	}
	check := newChecker(b.Org, schema)
	var policies candidates
	for _, p := range slices.Concat(parse(ownerPlatform, b.Platform, &found), parse(ownerOrg, b.Policies, &found)) {
		if p.owner == ownerPlatform && b.Org != store.PlatformOrg && check.inert(&p) {
			continue
		}
		if check.check(p, &found) {
			policies = append(policies, candidate{p.id, p.policy})
		}
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	s := &Set{
		org: b.Org, version: b.Version, schema: text, policies: policies,
		validate: validate.New(schema, validate.WithStrict()), world: newWorld(b, tools, details),
		absent: slices.Sorted(maps.Keys(check.absent)), types: registered,
	}
	if err := s.validate.Entities(s.world.entities); err != nil {
		return nil, fmt.Errorf("policy: generated entities: %w", err)
	}
	s.prepare(newIndex(policies), tools, details)
	return s, nil
}

// prepare does once what depends on the bundle alone.
func (s *Set) prepare(ix index, tools map[string]toolAction, details map[string]detailType) {
	w := s.world
	s.agents, s.scopes, s.tools = map[string]principal{}, map[string]place{}, map[string]callable{}
	exchange := w.place(action(actionExchange)).fits
	for uid := range w.entities {
		switch uid.Type {
		case typeAgent:
			next := ix.principal(fits(uid, w.ancestors(uid)))
			s.agents["agent:"+string(uid.ID)] = principal{uid, next, chooseAction(next, exchange)}
		case typeScope:
			s.scopes[string(uid.ID)] = w.place(uid)
		}
	}
	for name, t := range tools {
		provider := types.NewEntityUID(typeProvider, types.String(t.provider))
		s.tools[name] = callable{
			action: w.place(action(name)), tool: types.NewEntityUID(typeTool, types.String(name)), provider: t.provider, args: t.args,
			parents: types.NewEntityUIDSet(provider, w.org),
			above:   []constraint{{}, {ofType, types.EntityUID{Type: typeConnection}}, {inside, provider}, {inside, w.org}},
			details: t.details,
		}
	}
	s.details = make(map[string]detail, len(details))
	for name, d := range details {
		resource := types.NewEntityUID(typeDetailType, types.String(name))
		s.details[name] = detail{d, w.place(action(detailPrefix + name)), w.place(resource)}
	}
}

func (w *world) place(uid types.EntityUID) place { return place{uid, fits(uid, w.ancestors(uid))} }

// Version is the bundle's version; every decision carries it.
func (s *Set) Version() string { return s.version }

// Org is the org that the set decides for.
func (s *Set) Org() delegation.OrgID { return s.org }

// Schema is the schema that the policies were validated against, in Cedar's own notation.
func (s *Set) Schema() string { return s.schema }

// AbsentActions are the actions that platform policies name in their scopes and this org does not have, sorted. A name that is
// absent from every org is probably misspelt, and its guardrail guards nothing: who accepts platform policies should ask.
func (s *Set) AbsentActions() []string { return slices.Clone(s.absent) }

// Policies are the ids of the policies that the set decides with, sorted.
func (s *Set) Policies() []string {
	ids := map[string]bool{}
	for _, p := range s.policies {
		ids[string(p.id)] = true
	}
	return slices.Sorted(maps.Keys(ids))
}
