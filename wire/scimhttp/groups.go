package scimhttp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/elimity-com/scim"
	"github.com/elimity-com/scim/optional"
	"github.com/google/uuid"
	"github.com/scim2/filter-parser/v2"

	"github.com/onbehalf/obo/store"
)

// groupHandler is what the library calls for /Groups.
type groupHandler struct{}

// Create implements scim.ResourceHandler.
func (groupHandler) Create(r *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	c := callOf(r)
	ids, err := memberIDs(attributes["members"])
	var g store.Group
	if err == nil {
		g, err = c.directory.CreateGroup(r.Context(), named(store.Group{}, attributes), store.Membership{Add: ids})
	}
	return c.group(r, g, err)
}

// Get implements scim.ResourceHandler.
func (groupHandler) Get(r *http.Request, id string) (scim.Resource, error) {
	c := callOf(r)
	g, err := c.directory.Group(r.Context(), id)
	return c.group(r, g, err)
}

// GetAll implements scim.ResourceHandler. A filter on members asks whether somebody is in a group.
func (groupHandler) GetAll(r *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	c := callOf(r)
	eq, err := equals(params, "id", "displayName", "externalId", "members", "members.value")
	if err != nil {
		return scim.Page{}, err
	}
	q := store.GroupQuery{ID: eq["id"], DisplayName: eq["displayName"], ExternalID: eq["externalId"], Member: eq["members"]}
	if who := eq["members.value"]; who != "" {
		q.Member = who
	}
	q.Offset, q.Limit = window(params)
	groups, total, err := c.directory.Groups(r.Context(), q)
	if err != nil {
		return scim.Page{}, c.render(err)
	}
	page := scim.Page{TotalResults: total, Resources: make([]scim.Resource, len(groups))}
	for i, g := range groups {
		if page.Resources[i], err = c.group(r, g, nil); err != nil {
			return scim.Page{}, err
		}
	}
	return page, nil
}

// Replace implements scim.ResourceHandler: who is not named leaves. An externalId that is not named stays.
func (groupHandler) Replace(r *http.Request, id string, attributes scim.ResourceAttributes) (scim.Resource, error) {
	c := callOf(r)
	g, err := c.directory.ChangeGroup(r.Context(), id, func(before store.Group) (store.Group, store.Membership, error) {
		ids, err := memberIDs(attributes["members"])
		return named(before, attributes), store.Membership{Replace: true, Add: ids}, err
	})
	return c.group(r, g, err)
}

// Patch implements scim.ResourceHandler. It answers without the members: to list thousands for each that joins would cost more
// than the change.
func (groupHandler) Patch(r *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	c := callOf(r)
	_, err := c.directory.ChangeGroup(r.Context(), id, func(before store.Group) (store.Group, store.Membership, error) {
		var m store.Membership
		err := patchGroup(&before, &m, operations)
		return before, m, err
	})
	if err != nil {
		return scim.Resource{}, c.render(err)
	}
	return scim.Resource{}, nil // 204 (RFC 7644 §3.5.2)
}

// Delete implements scim.ResourceHandler.
func (groupHandler) Delete(r *http.Request, id string) error {
	c := callOf(r)
	if err := c.directory.DeleteGroup(r.Context(), id); err != nil {
		return c.render(err)
	}
	return nil
}

// group is a group as the answer to a request, with its members when they are wanted.
func (c *call) group(r *http.Request, g store.Group, err error) (scim.Resource, error) {
	if err != nil {
		return scim.Resource{}, c.render(err)
	}
	out := scim.Resource{
		ID: g.ID, Attributes: scim.ResourceAttributes{"displayName": g.DisplayName},
		Meta: scim.Meta{Created: &g.Created, LastModified: &g.Updated, Version: fmt.Sprintf(`W/"%d"`, g.Version)},
	}
	if g.ExternalID != "" && wanted(r, "externalId") {
		out.ExternalID = optional.NewString(g.ExternalID)
	}
	if wanted(r, "members") {
		ids, err := c.directory.Members(r.Context(), g.ID, maxMembers-c.listed+1)
		if err != nil {
			return scim.Resource{}, c.render(err)
		}
		if c.listed += len(ids); c.listed > maxMembers {
			return scim.Resource{}, invalid("tooMany",
				fmt.Sprintf("more than %d members to list: ask with excludedAttributes=members, or for fewer groups", maxMembers))
		}
		list := make([]any, len(ids))
		for i, id := range ids {
			list[i] = map[string]any{"value": id, "type": "User"}
		}
		out.Attributes["members"] = list
	}
	out.Attributes = project(r, out.Attributes)
	return out, nil
}

func named(g store.Group, attributes scim.ResourceAttributes) store.Group {
	if name, ok := attributes["displayName"].(string); ok {
		g.DisplayName = name
	}
	if id, ok := attributes["externalId"].(string); ok {
		g.ExternalID = id
	}
	return g
}

// isID reports whether a text can be an id of ours.
func isID(text string) bool { return uuid.Validate(text) == nil }

// memberIDs reads a list of members. A group within a group is refused: policies would not see who is in it.
func memberIDs(v any) ([]string, error) {
	list, _ := v.([]any)
	ids := make([]string, 0, len(list))
	for _, m := range list {
		member, _ := m.(map[string]any)
		id, _ := member["value"].(string)
		if kind, _ := member["type"].(string); !isID(id) || kind != "" && !strings.EqualFold(kind, "User") {
			return nil, invalid("invalidValue", "a member is a user of this directory, by its id in value; groups in groups are not taken")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// patchGroup applies the operations of a PATCH in their order.
func patchGroup(g *store.Group, m *store.Membership, operations []scim.PatchOperation) error {
	names, urn := kept("/Groups")
	return eachTarget(operations, func(op string, path *filter.Path, value any) error {
		text, isText := value.(string)
		switch name := attribute(names, urn, path.AttributePath.AttributeName); {
		case name == "members":
			return patchMembers(m, op, path, value)
		case op == scim.PatchOperationRemove && name == "externalId":
			g.ExternalID = ""
		case op == scim.PatchOperationRemove:
			return invalid("mutability", name+" cannot be removed")
		case !isText:
			return invalid("invalidValue", name+" is a string")
		case name == "displayName":
			g.DisplayName = text
		default:
			g.ExternalID = text
		}
		return nil
	})
}

func patchMembers(m *store.Membership, op string, path *filter.Path, value any) error {
	ids, err := memberIDs(value)
	if err != nil {
		return err
	}
	if subAttribute(path) != "" {
		return invalid("invalidPath", "a member is added or removed as a whole")
	}
	if path.ValueExpression != nil {
		eq, ok := path.ValueExpression.(*filter.AttributeExpression)
		id, isText := "", false
		if ok {
			id, isText = eq.CompareValue.(string)
		}
		if !ok || op != scim.PatchOperationRemove || eq.Operator != filter.EQ || !isText ||
			!strings.EqualFold(eq.AttributePath.AttributeName, "value") {
			return invalid("invalidPath", `a filter chooses a member to remove, as in members[value eq "ID"]`)
		}
		if !isID(id) {
			return nil // nobody has it
		}
		ids = []string{id}
	}
	switch {
	case op == scim.PatchOperationAdd:
		m.Remove = without(m.Remove, ids)
		m.Add = append(m.Add, ids...)
	case op == scim.PatchOperationRemove && (value != nil || len(ids) > 0):
		m.Add = without(m.Add, ids)
		m.Remove = append(m.Remove, ids...)
	default: // replace, or remove without a value: all
		*m = store.Membership{Replace: true, Add: ids}
	}
	return nil
}

func without(list, ids []string) []string {
	drop := make(map[string]bool, len(ids))
	for _, id := range ids {
		drop[id] = true
	}
	return slices.DeleteFunc(list, func(id string) bool { return drop[id] })
}
