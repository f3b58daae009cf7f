package scimhttp

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/elimity-com/scim"
	scimfilter "github.com/elimity-com/scim/filter"
	"github.com/elimity-com/scim/schema"
	"github.com/scim2/filter-parser/v2"
)

// patchUser applies the operations of a PATCH in their order (RFC 7644 §3.5.2). The library has validated their paths and values.
func patchUser(attributes map[string]any, operations []scim.PatchOperation) error {
	return eachTarget(operations, func(op string, path *filter.Path, value any) error {
		names, urn := kept("/Users")
		name, sub := attribute(names, urn, path.AttributePath.AttributeName), subAttribute(path)
		switch {
		case name == "emails":
			return patchEmails(attributes, op, path, value)
		case path.ValueExpression != nil:
			return invalid("invalidPath", name+" is one value, and a filter chooses among several")
		case op == scim.PatchOperationRemove && (name == "userName" || name == "active"):
			return invalid("mutability", name+" cannot be removed")
		case sub != "" || name == "name":
			return patchName(attributes, op, sub, value)
		case op == scim.PatchOperationRemove:
			delete(attributes, name)
		default:
			attributes[name] = value
		}
		return nil
	})
}

// eachTarget calls f for each attribute that the operations change. Without a path the value says which.
func eachTarget(operations []scim.PatchOperation, f func(op string, path *filter.Path, value any) error) error {
	for _, o := range operations {
		if o.Path != nil {
			if err := f(o.Op, o.Path, o.Value); err != nil {
				return err
			}
			continue
		}
		values, _ := o.Value.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			path, err := filter.ParsePath([]byte(key))
			if err != nil {
				return invalid("invalidPath", "a name of an attribute is malformed")
			}
			if err := f(o.Op, &path, values[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func subAttribute(path *filter.Path) string {
	if sub := path.SubAttributeName(); sub != "" {
		return sub
	}
	return path.AttributePath.SubAttributeName()
}

// patchName changes the parts that are named, and leaves the others (RFC 7644 §3.5.2.3).
func patchName(attributes map[string]any, op, sub string, value any) error {
	before, _ := attributes["name"].(map[string]any)
	name := map[string]any{}
	maps.Copy(name, before)
	parts, whole := value.(map[string]any)
	switch {
	case op == scim.PatchOperationRemove && sub == "":
		name = nil
	case op == scim.PatchOperationRemove:
		maps.DeleteFunc(name, func(k string, _ any) bool { return strings.EqualFold(k, sub) })
	case sub == "" && !whole:
		return invalid("invalidValue", "name is an object")
	case sub == "":
		maps.Copy(name, parts)
	default:
		name[canonical("name", sub)] = value
	}
	if len(name) == 0 {
		delete(attributes, "name")
		return nil
	}
	attributes["name"] = name
	return nil
}

// canonical is a sub-attribute in the schema's spelling.
func canonical(name, sub string) string {
	a, _ := schema.CoreUserSchema().Attributes.ContainsAttribute(name)
	if known, ok := a.SubAttributes().ContainsAttribute(sub); ok {
		return known.Name()
	}
	return sub
}

func patchEmails(attributes map[string]any, op string, path *filter.Path, value any) error {
	before, _ := attributes["emails"].([]any)
	emails := slices.Clone(before)
	values, _ := value.([]any)
	if len(values)+len(emails) > maxEmails {
		return errManyEmails
	}
	switch {
	case path.ValueExpression != nil:
		var err error
		if emails, err = patchChosen(emails, op, path, value); err != nil {
			return err
		}
	case subAttribute(path) != "":
		return invalid("invalidPath", `a part of emails is changed by a filter, such as emails[type eq "work"].value`)
	case op == scim.PatchOperationReplace, op == scim.PatchOperationRemove && value == nil:
		emails = values
	case op == scim.PatchOperationRemove:
		emails = slices.DeleteFunc(emails, func(e any) bool { return among(values, e) })
	default:
		for _, v := range values {
			if !among(emails, v) {
				emails = append(emails, v)
			}
		}
	}
	if len(emails) == 0 {
		delete(attributes, "emails")
		return nil
	}
	attributes["emails"] = emails
	return nil
}

var errManyEmails = invalid("tooMany", "more than 50 addresses of one user")

func among(list []any, v any) bool {
	return slices.ContainsFunc(list, func(e any) bool { return reflect.DeepEqual(e, v) })
}

// patchChosen changes the addresses that a filter chooses. An addition that finds none adds one, as Microsoft Entra means it; a
// replacement that finds none fails (RFC 7644 §3.5.2.3).
func patchChosen(emails []any, op string, path *filter.Path, value any) ([]any, error) {
	a, _ := schema.CoreUserSchema().Attributes.ContainsAttribute("emails")
	chosen := scimfilter.NewFilterValidator(path.ValueExpression, schema.Schema{Attributes: a.SubAttributes()})
	found := false
	for i, e := range emails {
		email, _ := e.(map[string]any)
		if chosen.PassesFilter(email) != nil {
			continue
		}
		found = true
		changed, err := patchEmail(email, op, subAttribute(path), value)
		if err != nil {
			return nil, err
		}
		emails[i] = changed
	}
	emails = slices.DeleteFunc(emails, func(e any) bool { return e == nil })
	if found || op == scim.PatchOperationRemove {
		return emails, nil
	}
	eq, ok := path.ValueExpression.(*filter.AttributeExpression)
	if op != scim.PatchOperationAdd || !ok || eq.Operator != filter.EQ {
		return nil, invalid("noTarget", "the filter finds none of the user's emails")
	}
	added := map[string]any{canonical("emails", eq.AttributePath.AttributeName): eq.CompareValue}
	changed, err := patchEmail(added, op, subAttribute(path), value)
	return append(emails, changed), err
}

// patchEmail is one address changed, or nil for one that goes.
func patchEmail(email map[string]any, op, sub string, value any) (any, error) {
	out := map[string]any{}
	maps.Copy(out, email)
	parts, whole := value.(map[string]any)
	switch {
	case op == scim.PatchOperationRemove && sub == "":
		return nil, nil
	case op == scim.PatchOperationRemove:
		delete(out, canonical("emails", sub))
	case sub == "" && !whole:
		return nil, invalid("invalidValue", "an email is an object")
	case sub == "":
		maps.Copy(out, parts)
	default:
		out[canonical("emails", sub)] = value
	}
	return out, nil
}
