package scimhttp

import (
	"fmt"
	"maps"
	"net/http"

	"github.com/elimity-com/scim"
	"github.com/elimity-com/scim/optional"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// userHandler is what the library calls for /Users. It has no state: whose directory it is, the request's context says.
type userHandler struct{}

// Create implements scim.ResourceHandler.
func (userHandler) Create(r *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	c := callOf(r)
	u, err := userOf(attributes, true)
	if err == nil {
		u, err = c.directory.CreateUser(r.Context(), u)
	}
	return c.user(r, u, err)
}

// Get implements scim.ResourceHandler.
func (userHandler) Get(r *http.Request, id string) (scim.Resource, error) {
	c := callOf(r)
	u, err := c.directory.User(r.Context(), id)
	resource, err := c.user(r, u, err)
	if err != nil || !wanted(r, "groups") {
		return resource, err
	}
	groups, _, err := c.directory.Groups(r.Context(), store.GroupQuery{Member: id, Limit: pageSize})
	if err != nil {
		return scim.Resource{}, c.render(err)
	}
	list := make([]any, len(groups))
	for i, g := range groups {
		list[i] = map[string]any{"value": g.ID, "display": g.DisplayName, "type": "direct"}
	}
	resource.Attributes["groups"] = list
	return resource, nil
}

// GetAll implements scim.ResourceHandler.
func (userHandler) GetAll(r *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	c := callOf(r)
	eq, err := equals(params, "id", "userName", "externalId", "emails.value")
	if err != nil {
		return scim.Page{}, err
	}
	q := store.UserQuery{ID: eq["id"], UserName: eq["userName"], ExternalID: eq["externalId"], Email: eq["emails.value"]}
	q.Offset, q.Limit = window(params)
	users, total, err := c.directory.Users(r.Context(), q)
	if err != nil {
		return scim.Page{}, c.render(err)
	}
	page := scim.Page{TotalResults: total, Resources: make([]scim.Resource, len(users))}
	for i, u := range users {
		if page.Resources[i], err = c.user(r, u, nil); err != nil {
			return scim.Page{}, err
		}
	}
	return page, nil
}

// Replace implements scim.ResourceHandler. A user whose active is left out stays as active as it was: a provider that forgets
// it brings nobody back. Neither is one without externalId, as Okta sends, somebody else from now on.
func (userHandler) Replace(r *http.Request, id string, attributes scim.ResourceAttributes) (scim.Resource, error) {
	c := callOf(r)
	u, err := c.directory.ChangeUser(r.Context(), id, func(before store.User) (store.User, error) {
		if _, ok := attributes["externalId"]; !ok {
			attributes = maps.Clone(attributes)
			attributes["externalId"] = before.ExternalID
		}
		return userOf(attributes, before.Active)
	})
	return c.user(r, u, err)
}

// Patch implements scim.ResourceHandler.
func (userHandler) Patch(r *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	c := callOf(r)
	u, err := c.directory.ChangeUser(r.Context(), id, func(before store.User) (store.User, error) {
		attributes, err := attributesOf(before)
		if err == nil {
			err = patchUser(attributes, operations)
		}
		if err != nil {
			return store.User{}, err
		}
		return userOf(attributes, before.Active)
	})
	return c.user(r, u, err)
}

// Delete implements scim.ResourceHandler.
func (userHandler) Delete(r *http.Request, id string) error {
	c := callOf(r)
	if err := c.directory.DeleteUser(r.Context(), id); err != nil {
		return c.render(err)
	}
	return nil
}

// user is a user as the answer to a request.
func (c *call) user(r *http.Request, u store.User, err error) (scim.Resource, error) {
	if err != nil {
		return scim.Resource{}, c.render(err)
	}
	attributes, err := attributesOf(u)
	if err != nil {
		return scim.Resource{}, c.render(err)
	}
	delete(attributes, "externalId") // the library puts it in
	out := scim.Resource{
		ID: u.ID, Attributes: project(r, attributes),
		Meta: scim.Meta{Created: &u.Created, LastModified: &u.Updated, Version: fmt.Sprintf(`W/"%d"`, u.Version)},
	}
	if u.ExternalID != "" && wanted(r, "externalId") {
		out.ExternalID = optional.NewString(u.ExternalID)
	}
	return out, nil
}

// attributesOf is a user with all attributes that are kept.
func attributesOf(u store.User) (map[string]any, error) {
	out := map[string]any{}
	if err := jose.Decode(u.Document, &out); err != nil {
		return nil, fmt.Errorf("scimhttp: user %s: %w", u.ID, err)
	}
	out["userName"], out["active"] = u.UserName, u.Active
	if u.ExternalID != "" {
		out["externalId"] = u.ExternalID
	}
	return out, nil
}

// userOf is the user that attributes describe. active is what it is when they do not say.
func userOf(attributes map[string]any, active bool) (store.User, error) {
	u := store.User{Active: active}
	document := map[string]any{}
	for name, v := range attributes {
		switch name {
		case "userName":
			u.UserName, _ = v.(string)
		case "externalId":
			u.ExternalID, _ = v.(string)
		case "active":
			is, ok := v.(bool)
			if !ok {
				return store.User{}, invalid("invalidValue", "active is true or false")
			}
			u.Active = is
		default:
			document[name] = v
		}
	}
	if list, _ := document["emails"].([]any); len(list) > maxEmails {
		return store.User{}, errManyEmails
	}
	u.Email = primary(document["emails"])
	var err error
	if u.Document, err = jose.Encode(document); err != nil {
		return store.User{}, invalid("invalidValue", "an attribute is malformed")
	}
	return u, nil
}

// primary is the primary address of several, or else the first.
func primary(emails any) string {
	list, _ := emails.([]any)
	var first string
	for _, e := range list {
		email, _ := e.(map[string]any)
		value, _ := email["value"].(string)
		if is, _ := email["primary"].(bool); is {
			return value
		}
		if first == "" {
			first = value
		}
	}
	return first
}
