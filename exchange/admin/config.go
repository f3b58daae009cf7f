package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
		return ApplyOrgResult{}, stale(old, req.ExpectedVersion)
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
	if err := s.record(ctx, req.Org, "config", summary(fmt.Sprintf("configuration %d", next.Version), result.Changes), result.Changes); err != nil {
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

// ApplyPlatformRequest is the operator's whole set of policies.
type ApplyPlatformRequest struct {
	Policies        []policy.File
	ExpectedVersion *int64 // that the caller saw, 0 when there was none; nil: whatever is in force
	DryRun          bool   // check everything, and say what would change
}

// ApplyPlatform replaces the operator's policies, which are evaluated with those of every org. They must compile against every org
// that there is, and each action that they name must exist in at least one. A set that changes nothing keeps its version.
func (s Session) ApplyPlatform(ctx context.Context, req ApplyPlatformRequest) (ApplyOrgResult, error) {
	data, err := registry.EncodePlatform(req.Policies)
	if err != nil {
		return ApplyOrgResult{}, fmt.Errorf("%w: the policies cannot be written as JSON", ErrInvalid)
	}
	if len(data) > registry.MaxDocument {
		return ApplyOrgResult{}, fmt.Errorf("%w: the policies are larger than %d bytes", ErrInvalid, registry.MaxDocument)
	}
	s.apply.Lock()
	defer s.apply.Unlock()
	old, err := s.config(ctx, store.PlatformOrg)
	if err != nil {
		return ApplyOrgResult{}, err
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != old.Version {
		return ApplyOrgResult{}, stale(old, *req.ExpectedVersion)
	}
	var before []policy.File
	if old.Version > 0 {
		if before, err = registry.ParsePlatform(old.Document); err != nil {
			return ApplyOrgResult{}, fmt.Errorf("admin: policies in force: %w", err)
		}
	}
	next := store.OrgConfig{Org: store.PlatformOrg, Version: old.Version + 1, Document: data, Created: s.cfg.Now()}
	if err := s.admitPlatform(ctx, next, req.Policies); err != nil {
		return ApplyOrgResult{}, err
	}
	changes := registry.Diff(registry.Document{Policies: before}, registry.Document{Policies: req.Policies})
	result := ApplyOrgResult{Version: old.Version, Changes: changes}
	if req.DryRun || len(changes) == 0 {
		return result, nil
	}
	detail := summary(fmt.Sprintf("platform policies %d, %d files", next.Version, len(req.Policies)), changes)
	if err := s.record(ctx, store.PlatformOrg, "policies", detail, changes); err != nil {
		return ApplyOrgResult{}, err
	}
	if err := s.put(ctx, next); err != nil {
		return ApplyOrgResult{}, err
	}
	result.Version = next.Version
	return result, nil
}

// admitPlatform checks the operator's policies against every org.
func (s Session) admitPlatform(ctx context.Context, next store.OrgConfig, policies []policy.File) error {
	ids, err := s.everyOrg(ctx)
	if err != nil {
		return err
	}
	if _, err := policy.Compile(policy.Bundle{Org: "nobody", Version: "0", Platform: policies}); err != nil && len(ids) == 0 {
		return invalid(err, "")
	}
	absent := map[string]int{} // from how many orgs
	for _, id := range ids {
		config, err := s.config(ctx, id)
		if err != nil {
			return err
		}
		org, err := registry.Compile(config, next, nil)
		if err != nil {
			return invalid(err, "org "+string(id)+": ")
		}
		for _, action := range org.Policy().AbsentActions() {
			absent[action]++
		}
	}
	for _, action := range slices.Sorted(maps.Keys(absent)) {
		if absent[action] == len(ids) { // a misspelt guardrail would guard nothing, in silence
			return fmt.Errorf("%w: no org has the action %q: correct its name, or apply the tool's provider first", ErrInvalid, action)
		}
	}
	return nil
}

// stale is the refusal of a change that was made of another version than the one in force.
func stale(inForce store.OrgConfig, saw int64) error {
	if inForce.Version == 0 {
		return fmt.Errorf("%w: nothing is in force yet, and version %d was expected: expect version 0 to create it", ErrConflict, saw)
	}
	return fmt.Errorf("%w: version %d is in force, since %s, and not version %d, which the change was made of: read what is in force, "+
		"see whether the change still holds, and send it with that version", ErrConflict, inForce.Version,
		inForce.Created.UTC().Format(time.RFC3339), saw)
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
		return fmt.Errorf("%w: somebody else changed it at the same moment: read what is in force, and send the change with that version",
			ErrConflict)
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
