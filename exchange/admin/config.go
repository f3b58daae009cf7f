package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

// GetOrgResult is the configuration in force.
type GetOrgResult struct {
	Document []byte // JSON
	Version  int64  // 0: the org does not exist
}

// ApplyOrgRequest is a whole configuration.
type ApplyOrgRequest struct {
	Org             delegation.OrgID
	Document        []byte // JSON or YAML, at most registry.MaxDocument
	ExpectedVersion int64  // that the caller saw; 0 creates
	DryRun          bool   // validate and say what would change
}

// ApplyOrgResult says what changed.
type ApplyOrgResult struct {
	Version int64 // now in force
	Changes []registry.Change
}

// GetOrg is an org's configuration; the version of an org that does not exist is 0.
func (s *Service) GetOrg(ctx context.Context, org delegation.OrgID) (GetOrgResult, error) {
	if err := orgID(org); err != nil {
		return GetOrgResult{}, err
	}
	c, err := s.config(ctx, org)
	return GetOrgResult{Document: c.Document, Version: c.Version}, err
}

// ApplyOrg replaces an org's configuration, or creates the org. Everything is checked before anything changes. A document
// that changes nothing keeps its version.
func (s Session) ApplyOrg(ctx context.Context, req ApplyOrgRequest) (ApplyOrgResult, error) {
	doc, err := readDocument(req)
	if err != nil {
		return ApplyOrgResult{}, err
	}
	s.apply.Lock()
	defer s.apply.Unlock()
	old, err := s.config(ctx, req.Org)
	if err != nil {
		return ApplyOrgResult{}, err
	}
	if old.Version != req.ExpectedVersion {
		return ApplyOrgResult{}, fmt.Errorf("%w: version %d is in force, not %d", ErrConflict, old.Version, req.ExpectedVersion)
	}
	before := registry.Document{}
	if old.Version > 0 {
		if before, err = registry.Parse(old.Document); err != nil {
			return ApplyOrgResult{}, fmt.Errorf("admin: configuration in force: %w", err)
		}
	}
	next, err := s.admit(ctx, doc, old.Version+1)
	if err != nil {
		return ApplyOrgResult{}, err
	}
	result := ApplyOrgResult{Version: old.Version, Changes: registry.Diff(before, doc)}
	if beyondPolicies(result.Changes) && !s.may(policy.ChangeAll, req.Org) {
		return ApplyOrgResult{}, fmt.Errorf("%w: your role changes policies only, and this document differs in more", ErrForbidden)
	}
	if req.DryRun || old.Version > 0 && len(result.Changes) == 0 {
		return result, nil
	}
	if err := s.record(ctx, req.Org, "config", summary(next.Version, result.Changes), recorded(result.Changes)...); err != nil {
		return ApplyOrgResult{}, err
	}
	if err := s.put(ctx, next); err != nil {
		return ApplyOrgResult{}, err
	}
	result.Version = next.Version
	return result, nil
}

func readDocument(req ApplyOrgRequest) (registry.Document, error) {
	if err := orgID(req.Org); err != nil {
		return registry.Document{}, err
	}
	doc, err := registry.Parse(req.Document)
	if err != nil {
		return doc, err
	}
	if doc.Org != req.Org {
		p := registry.Problem{Path: "org", Message: fmt.Sprintf("must be %s, as in the request", req.Org)}
		return doc, &registry.InvalidError{Problems: []registry.Problem{p}}
	}
	return doc, doc.Validate()
}

// admit checks a document against what it cannot know: the operator's policies, and the other orgs.
func (s Session) admit(ctx context.Context, doc registry.Document, version int64) (store.OrgConfig, error) {
	data, err := jose.Encode(doc)
	if err != nil {
		return store.OrgConfig{}, fmt.Errorf("admin: %w", err)
	}
	next := store.OrgConfig{Org: doc.Org, Version: version, Document: data, Created: s.cfg.Now()}
	platform, err := s.config(ctx, store.PlatformOrg)
	if err != nil {
		return next, err
	}
	if _, err := registry.Compile(next, platform, nil); err != nil {
		return next, invalid(err, "")
	}
	if err := s.signable(doc); err != nil {
		return next, err
	}
	return next, s.tellApart(ctx, doc)
}

// signable refuses a signing_algorithm with which no key signs now: the org would get no tokens.
func (s *Service) signable(doc registry.Document) error {
	algorithms := s.cfg.Keys.Algorithms()
	chosen := jose.Algorithm(doc.SigningAlgorithm)
	problem := registry.Problem{Path: "signing_algorithm"}
	switch {
	case chosen != "" && !slices.Contains(algorithms, chosen):
		problem.Message = fmt.Sprintf("no key signs with %s now, but with %s: the operator names it in signing.algorithms, and it signs once"+
			" every verifier can know its key (`obo keys list` says when)", chosen, algorithms)
	case chosen == "" && doc.Profile == registry.ProfileFAPI && len(algorithms) > 0 && algorithms[0] == jose.RS256:
		problem.Message = "the server signs with RS256, which the profile fapi does not have: choose another"
	default:
		return nil
	}
	return &registry.InvalidError{Problems: []registry.Problem{problem}}
}

// tellApart refuses an issuer that another org trusts too, unless both registrations name the one claim that tells their users
// apart: else every user of the one org's provider would be a user of the other, or those who have both claims would be of
// both. Two orgs that register the same issuer at the same instant through two replicas can slip past this check; it sees what
// is in force.
func (s Session) tellApart(ctx context.Context, doc registry.Document) error {
	if len(doc.Issuers) == 0 {
		return nil // and no streams
	}
	ids, err := s.everyOrg(ctx)
	if err != nil {
		return err
	}
	var problems []registry.Problem
	for _, id := range ids {
		if id == doc.Org {
			continue
		}
		other, err := s.cfg.Registry.Org(ctx, id)
		if err != nil {
			return fmt.Errorf("admin: org %s: %w", id, err)
		}
		problems = append(problems, s.overheard(doc, other)...)
		for _, is := range doc.Issuers {
			theirs, ok := other.Issuer(is.URL)
			if !ok || is.OrgClaim != "" && is.OrgClaim == theirs.OrgClaim && is.OrgValue != theirs.OrgValue {
				continue
			}
			problems = append(problems, registry.Problem{
				Path: "issuers/" + is.Name + "/org_claim",
				Message: s.named(id) + " trusts this issuer too: both registrations need the same org_claim, and a value of their" +
					" own, that tells their users apart",
			})
		}
	}
	if len(problems) > 0 {
		return &registry.InvalidError{Problems: problems}
	}
	return nil
}

// overheard finds the streams of security events that another org has too: what is said to the one org could be repeated to the
// other by whoever overheard it.
func (s Session) overheard(doc registry.Document, other *registry.Org) []registry.Problem {
	var problems []registry.Problem
	for _, stream := range doc.SignalStreams {
		if other.Listens(stream.Transmitter, stream.Audience) {
			problems = append(problems, registry.Problem{
				Path:    "signal_streams/" + stream.Name + "/audience",
				Message: s.named(other.ID()) + " has a stream of this transmitter with this audience: let the transmitter use one for each org",
			})
		}
	}
	return problems
}

// named is another org as this administrator may know of it.
func (s Session) named(id delegation.OrgID) string {
	if s.who.Role == policy.RoleOperator {
		return "org " + string(id)
	}
	return "another org"
}

// ApplyPlatform replaces the operator's policies, which are evaluated with those of every org, and answers with their version.
// They must compile against every org that there is, and each action that they name must exist in at least one.
func (s Session) ApplyPlatform(ctx context.Context, policies []policy.File) (int64, error) {
	data, err := registry.EncodePlatform(policies)
	if err != nil {
		return 0, fmt.Errorf("%w: the policies cannot be written as JSON", ErrInvalid)
	}
	if len(data) > registry.MaxDocument {
		return 0, fmt.Errorf("%w: the policies are larger than %d bytes", ErrInvalid, registry.MaxDocument)
	}
	s.apply.Lock()
	defer s.apply.Unlock()
	old, err := s.config(ctx, store.PlatformOrg)
	if err != nil {
		return 0, err
	}
	next := store.OrgConfig{Org: store.PlatformOrg, Version: old.Version + 1, Document: data, Created: s.cfg.Now()}
	ids, err := s.everyOrg(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := policy.Compile(policy.Bundle{Org: "nobody", Version: "0", Platform: policies}); err != nil && len(ids) == 0 {
		return 0, invalid(err, "")
	}
	absent := map[string]int{} // from how many orgs
	for _, id := range ids {
		config, err := s.config(ctx, id)
		if err != nil {
			return 0, err
		}
		org, err := registry.Compile(config, next, nil)
		if err != nil {
			return 0, invalid(err, "org "+string(id)+": ")
		}
		for _, action := range org.Policy().AbsentActions() {
			absent[action]++
		}
	}
	for _, action := range slices.Sorted(maps.Keys(absent)) {
		if absent[action] == len(ids) { // a misspelt guardrail would guard nothing, in silence
			return 0, fmt.Errorf("%w: no org has the action %q: correct its name, or apply the tool's provider first", ErrInvalid, action)
		}
	}
	detail := fmt.Sprintf("platform policies %d: %d files", next.Version, len(policies))
	if err := s.record(ctx, store.PlatformOrg, "policies", detail); err != nil {
		return 0, err
	}
	return next.Version, s.put(ctx, next)
}

// config is an org's configuration in force; the zero version when there is none.
func (s *Service) config(ctx context.Context, org delegation.OrgID) (store.OrgConfig, error) {
	c, err := s.cfg.Config(org).Config(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return store.OrgConfig{Org: org}, nil
	}
	if err != nil {
		return c, fmt.Errorf("admin: configuration of org %s: %w", org, err)
	}
	return c, nil
}

func (s *Service) put(ctx context.Context, c store.OrgConfig) error {
	err := s.cfg.Config(c.Org).PutConfig(ctx, c)
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("%w: somebody else changed the configuration", ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("admin: configuration of org %s: %w", c.Org, err)
	}
	s.seen(ctx)
	return nil
}

// invalid makes problems of policies the problems of a document.
func invalid(err error, prefix string) error {
	var bad *policy.InvalidError
	if !errors.As(err, &bad) {
		return fmt.Errorf("admin: %w", err)
	}
	problems := registry.PolicyProblems(bad)
	for i := range problems {
		problems[i].Path = prefix + problems[i].Path
	}
	return &registry.InvalidError{Problems: problems}
}

// beyondPolicies reports whether any change is of something else than a policy.
func beyondPolicies(changes []registry.Change) bool {
	return slices.ContainsFunc(changes, func(c registry.Change) bool { return !strings.HasPrefix(c.Path, "policies/") })
}

// recorded is what the trail keeps of changes.
func recorded(changes []registry.Change) []audit.Change {
	out := make([]audit.Change, len(changes))
	for i, c := range changes {
		out[i] = audit.Change{Path: c.Path, Before: c.Before, After: c.After}
	}
	return out
}

// summary says in one line what an apply changes.
func summary(version int64, changes []registry.Change) string {
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = c.Kind + " " + c.Path
	}
	return fmt.Sprintf("configuration %d: %s", version, strings.Join(parts, ", "))
}
