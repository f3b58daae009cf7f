package policy

import (
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/onbehalf/obo/delegation"
)

// world holds the entities of a bundle. Every entity lists all its ancestors as parents, so that `in` is one look.
type world struct {
	org      types.EntityUID
	orgAlone types.EntityUIDSet // the parents of what has no other
	agents   string             // the prefix of this org's agent ids: "agent:acme/"
	users    string             // and of its user ids: "user:acme/"
	services string             // and of its service accounts: "service:acme/"
	prefix   string             // and of its entity ids: "acme/"
	entities types.EntityMap
}

func newWorld(b Bundle, tools map[string]toolAction, details map[string]detailType) *world {
	org := types.NewEntityUID(typeOrg, types.String(b.Org))
	w := &world{
		org: org, orgAlone: types.NewEntityUIDSet(org), prefix: string(b.Org) + "/",
		agents: delegation.AgentID(b.Org, ""), users: "user:" + string(b.Org) + "/",
		services: "service:" + string(b.Org) + "/",
		entities: types.EntityMap{org: {UID: org}},
	}
	for _, a := range b.Agents {
		parents := []types.EntityUID{org}
		for _, g := range a.Groups {
			group := w.own(typeAgentGroup, g)
			w.add(group, org)
			parents = append(parents, group)
		}
		uid := w.own(typeAgent, a.Name)
		w.entities[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...), Attributes: types.NewRecord(types.RecordMap{
			"owner": types.String(a.Owner), "external": types.Boolean(a.External)})}
	}
	for _, r := range b.Resources {
		w.add(w.own(typeResource, r), org)
	}
	for _, p := range b.Providers {
		provider := types.NewEntityUID(typeProvider, types.String(p.Name))
		w.add(provider)
		for _, s := range p.Scopes {
			w.addParent(types.NewEntityUID(typeScope, types.String(s)), provider)
		}
	}
	call := action(actionCall)
	w.add(call)
	w.add(action(actionExchange))
	w.add(action(actionDetail))
	for name := range details {
		w.add(types.NewEntityUID(typeDetailType, types.String(name)))
		w.add(action(detailPrefix+name), action(actionDetail))
	}
	for name, t := range tools {
		w.add(types.NewEntityUID(typeTool, types.String(name)), types.NewEntityUID(typeProvider, types.String(t.provider)))
		parents := []types.EntityUID{call}
		for _, g := range t.groups() {
			if g != actionCall {
				w.add(action(g), call)
				parents = append(parents, action(g))
			}
		}
		w.add(action(name), parents...)
	}
	return w
}

func (w *world) add(uid types.EntityUID, parents ...types.EntityUID) {
	w.entities[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...)}
}

// addParent adds to the parents that an entity has: two providers may share a scope.
func (w *world) addParent(uid, parent types.EntityUID) {
	w.add(uid, append(w.ancestors(uid), parent)...)
}

func (w *world) ancestors(uid types.EntityUID) []types.EntityUID {
	var out []types.EntityUID
	for p := range w.entities[uid].Parents.All() {
		out = append(out, p)
	}
	return out
}

// own is the entity of this org that has a name within it.
func (w *world) own(t types.EntityType, name string) types.EntityUID {
	return types.NewEntityUID(t, types.String(w.prefix+name))
}

// agent is the entity of an agent id; not ok when the id is none of this org.
func (w *world) agent(id string) (types.EntityUID, bool) {
	if len(id) <= len(w.agents) || id[:len(w.agents)] != w.agents {
		return types.EntityUID{}, false
	}
	return types.NewEntityUID(typeAgent, types.String(id[len("agent:"):])), true
}

// serviceIssuer stands where a user has its issuer: no issuer has that name.
const serviceIssuer = "service|"

// user is the entity of a user id, or of a service account's: "service:acme/reporting" is User::"acme/service|reporting". It is
// not ok when the id is none of this org, or is a user's that would be a service account (threat: one kind taken for another).
func (w *world) user(id string) (types.EntityUID, bool) {
	if name, ok := strings.CutPrefix(id, w.services); ok {
		return w.own(typeUser, serviceIssuer+name), name != ""
	}
	name, ok := strings.CutPrefix(id, w.users)
	if !ok || name == "" || strings.HasPrefix(name, serviceIssuer) {
		return types.EntityUID{}, false
	}
	return types.NewEntityUID(typeUser, types.String(id[len("user:"):])), true
}

// view is the world with what one request adds: its user and its connection. It implements types.EntityGetter.
type view struct {
	world      *world
	user       types.Entity
	connection types.Entity
}

// Get implements types.EntityGetter.
func (v *view) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid.Type {
	case typeUser:
		return v.user, uid == v.user.UID
	case typeConnection:
		return v.connection, uid == v.connection.UID
	case typeGroup:
		return types.Entity{UID: uid, Parents: v.world.orgAlone}, true
	}
	e, ok := v.world.entities[uid]
	return e, ok
}

// userEntity is a user with its groups.
func (w *world) userEntity(uid types.EntityUID, groups []string) types.Entity {
	parents := make([]types.EntityUID, 1, 1+len(groups))
	parents[0] = w.org
	for _, g := range groups {
		parents = append(parents, w.own(typeGroup, g))
	}
	return types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...)}
}
