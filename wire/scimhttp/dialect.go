package scimhttp

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/elimity-com/scim/schema"

	"github.com/onbehalf/obo/jose"
)

// What is kept of a resource beside id and externalId.
var (
	keptOfUsers  = []string{"userName", "name", "displayName", "emails", "active"}
	keptOfGroups = []string{"displayName", "members"}
)

const (
	maxOperations = 1000
	maxEmails     = 50 // each is compared with each
)

// kept are the attributes that a request's resource type keeps, and its schema. The path is below the base URL.
func kept(path string) (names []string, urn string) {
	if strings.HasPrefix(path, "/Groups") {
		return append([]string{"externalId"}, keptOfGroups...), schema.GroupSchema
	}
	return append([]string{"externalId"}, keptOfUsers...), schema.UserSchema
}

// attribute is the kept attribute that a name or the begin of a path is of, in its own spelling (RFC 7643 §2.1: names have no
// case), and empty when it is not kept.
func attribute(names []string, urn, path string) string {
	if len(path) > len(urn) && strings.EqualFold(path[:len(urn)], urn) && path[len(urn)] == ':' {
		path = path[len(urn)+1:]
	}
	if end := strings.IndexAny(path, ".["); end >= 0 {
		path = path[:end]
	}
	at := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, path) })
	if at < 0 {
		return ""
	}
	return names[at]
}

// normalize reads a body strictly and brings it into the form of the RFC: attributes that are not kept are left out, which the
// library would refuse in a PATCH, and the "True" and "False" that Microsoft Entra sends are booleans. It answers nil for a
// PATCH of nothing that is kept.
func normalize(method, path string, body []byte) ([]byte, error) {
	resource := map[string]any{}
	if jose.Decode(body, &resource) != nil {
		return nil, invalid("invalidSyntax", "the body is no JSON object, or has a member twice")
	}
	names, urn := kept(path)
	if method != http.MethodPatch {
		out, err := resourceOf(names, urn, resource)
		if err != nil {
			return nil, err
		}
		return encode(out)
	}
	members := slices.Sorted(maps.Keys(resource))
	at := slices.IndexFunc(members, func(k string) bool { return strings.EqualFold(k, "Operations") })
	if at < 0 {
		return encode(resource) // the library says what is wrong
	}
	key := members[at]
	operations, _ := resource[key].([]any)
	if len(operations) == 0 {
		return encode(resource)
	}
	if len(operations) > maxOperations {
		return nil, invalid("tooMany", "more than 1000 operations: send several requests")
	}
	left := make([]any, 0, len(operations))
	for _, o := range operations {
		op, ok := o.(map[string]any)
		if !ok {
			return nil, invalid("invalidSyntax", "an operation is no JSON object")
		}
		keep, err := operation(names, urn, op)
		if err != nil {
			return nil, err
		}
		if keep {
			left = append(left, op)
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	resource[key] = left
	return encode(resource)
}

// operation brings one operation of a PATCH into form, and reports whether anything is left of it.
func operation(names []string, urn string, op map[string]any) (bool, error) {
	fields := map[string]string{}
	for key := range op {
		lower := strings.ToLower(key)
		if _, twice := fields[lower]; twice {
			return false, invalid("invalidSyntax", "an operation has a member twice")
		}
		fields[lower] = key
	}
	path, isText := op[fields["path"]].(string)
	if fields["path"] != "" && !isText && op[fields["path"]] != nil || len(path) > maxFilter {
		return false, invalid("invalidPath", "a path is no string, or longer than 512 bytes")
	}
	value := op[fields["value"]]
	if path != "" {
		name := attribute(names, urn, path)
		if value != nil {
			op[fields["value"]] = booleans(name, path, value)
		}
		return name != "", nil
	}
	members, ok := value.(map[string]any)
	if !ok {
		return true, nil // the library says what is wrong
	}
	resource, err := resourceOf(names, urn, members)
	op[fields["value"]] = resource
	return len(resource) > 0, err
}

// resourceOf is a resource, or the value of an operation without a path, with what is kept of it alone. Attributes in an object
// under the schema's own name are taken as if they stood outside (RFC 7643 §3.3). An attribute that is there twice, in whatever
// spelling, is refused: which of the two counts would be anybody's guess.
func resourceOf(names []string, urn string, in map[string]any) (map[string]any, error) {
	out, seen := map[string]any{}, map[string]bool{}
	put := func(key string, v any) error {
		full := strings.TrimPrefix(strings.ToLower(key), strings.ToLower(urn)+":")
		if seen[full] {
			return invalid("invalidSyntax", "an attribute is there twice")
		}
		seen[full] = true
		out[key] = booleans(attribute(names, urn, key), key, v)
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(in)) {
		if inner, ok := in[key].(map[string]any); ok && strings.EqualFold(key, urn) {
			flat, err := resourceOf(names, urn, inner)
			if err != nil {
				return nil, err
			}
			for _, k := range slices.Sorted(maps.Keys(flat)) {
				if err := put(k, flat[k]); err != nil {
					return nil, err
				}
			}
			continue
		}
		if attribute(names, urn, key) != "" || strings.EqualFold(key, "schemas") {
			if err := put(key, in[key]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// booleans reads active, and primary of emails, of which a path may name one (emails[type eq "work"].primary).
func booleans(name, path string, v any) any {
	switch at := v.(type) {
	case string:
		if name == "active" || name == "emails" && strings.HasSuffix(strings.ToLower(path), ".primary") {
			return boolean(at)
		}
	case []any:
		for i := range at {
			at[i] = booleans(name, path, at[i])
		}
	case map[string]any:
		for key := range at {
			if name == "emails" && strings.EqualFold(key, "primary") {
				at[key] = boolean(at[key])
			}
		}
	}
	return v
}

// boolean reads what Microsoft Entra sends for a boolean without its feature flag aadOptscim062020.
func boolean(v any) any {
	if s, ok := v.(string); ok {
		switch strings.ToLower(s) {
		case "true":
			return true
		case "false":
			return false
		}
	}
	return v
}

func encode(v any) ([]byte, error) {
	body, err := jose.Encode(v)
	if err != nil {
		return nil, invalid("invalidSyntax", "the body is malformed")
	}
	return body, nil
}
