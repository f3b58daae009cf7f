package policy

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/onbehalf/obo/delegation"
)

// The roles of administrators. policy/roles says in Cedar what each may do.
const (
	RoleOperator     = "operator" // of the whole server; the only one that belongs to no org
	RoleOrgAdmin     = "org-admin"
	RolePolicyAuthor = "policy-author"
	RoleAuditor      = "auditor"
)

// OrgRoles are the roles that an org can give to its own people and workloads.
func OrgRoles() []string { return []string{RoleOrgAdmin, RolePolicyAuthor, RoleAuditor} }

// ChangeAll is the action of changing more of an org's configuration than its policies.
const ChangeAll = "everything but policies"

//go:embed roles/roles.cedarschema roles/roles.cedar
var rolesFiles embed.FS

// Roles decides what administrators may do. It never changes and may be read by many goroutines at once.
type Roles struct {
	validate *validate.Validator
	policies candidates
	actions  map[string]types.Entity // with the groups that they are in
}

// NewRoles compiles the schema and the policies in policy/roles.
func NewRoles() (*Roles, error) {
	schema, err := rolesFiles.ReadFile("roles/roles.cedarschema")
	if err != nil {
		return nil, err
	}
	text, err := rolesFiles.ReadFile("roles/roles.cedar")
	if err != nil {
		return nil, err
	}
	resolved, err := resolve(string(schema))
	if err != nil {
		return nil, err
	}
	var found findings
	r := &Roles{validate: validate.New(resolved, validate.WithStrict()), actions: map[string]types.Entity{}}
	for _, p := range parse(ownerPlatform, []File{{Name: "roles.cedar", Text: string(text)}}, &found) {
		if err := r.validate.Policy(string(p.id), p.ast()); err != nil {
			return nil, fmt.Errorf("policy: roles: %s: %w", p.id, err)
		}
		r.policies = append(r.policies, candidate{p.id, p.policy})
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	for uid, a := range resolved.Actions {
		if a.AppliesTo != nil {
			r.actions[string(uid.ID)] = a.Entity
		}
	}
	if len(r.actions) == 0 || len(r.policies) == 0 {
		return nil, errors.New("policy: roles: nothing is there")
	}
	return r, nil
}

// Actions are the names of all that can be allowed, sorted: "Service.Method", and ChangeAll.
func (r *Roles) Actions() []string { return slices.Sorted(maps.Keys(r.actions)) }

// Decide says whether somebody of a role in an org may do something to an org; store.PlatformOrg stands for the server itself.
// What the schema does not know is refused to everybody.
func (r *Roles) Decide(role string, of delegation.OrgID, act string, to delegation.OrgID) Decision {
	const version = "roles"
	who := types.NewEntityUID("Administrator", "caller") // one is like another: only role and org count
	home := types.NewEntityUID(typeOrg, types.String(of))
	request := types.Request{Principal: who, Action: action(act), Resource: types.NewEntityUID(typeOrg, types.String(to))}
	known, ok := r.actions[act]
	if !ok || r.validate.Request(request) != nil {
		return Decision{Version: version, Reason: reasonSchema}
	}
	entities := types.EntityMap{
		who: {
			UID: who, Parents: types.NewEntityUIDSet(types.NewEntityUID("Role", types.String(role))),
			Attributes: types.NewRecord(types.RecordMap{"org": home}),
		},
		known.UID: known,
	}
	s := Set{version: version}
	return s.judge(r.policies, entities, request)
}
