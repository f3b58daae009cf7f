package scimhttp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/elimity-com/scim"
	"github.com/scim2/filter-parser/v2"
)

// equals reads a filter as attributes and the one value of each. Providers look a resource up by what names it; anything else
// would be a search through all, which is refused (RFC 7644 §3.4.2.2).
func equals(params scim.ListRequestParams, allowed ...string) (map[string]string, error) {
	out := map[string]string{}
	if params.FilterValidator == nil {
		return out, nil
	}
	if err := gather(params.FilterValidator.GetFilter(), out, allowed); err != nil {
		return nil, err
	}
	return out, nil
}

func gather(e filter.Expression, out map[string]string, allowed []string) error {
	unsupported := invalid("invalidFilter",
		fmt.Sprintf(`a filter compares %s with eq, and joins such comparisons by "and"`, strings.Join(allowed, ", ")))
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator != filter.AND {
			return unsupported
		}
		if err := gather(e.Left, out, allowed); err != nil {
			return err
		}
		return gather(e.Right, out, allowed)
	case *filter.AttributeExpression:
		name := e.AttributePath.AttributeName
		if sub := e.AttributePath.SubAttributeName(); sub != "" {
			name += "." + sub
		}
		at := slices.IndexFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) })
		value, ok := e.CompareValue.(string)
		if at < 0 || e.Operator != filter.EQ || !ok || value == "" || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return unsupported
		}
		if before, twice := out[allowed[at]]; twice && before != value {
			return unsupported
		}
		out[allowed[at]] = value
		return nil
	}
	return unsupported
}

// window is the page that is asked for (RFC 7644 §3.4.2.4): what comes before it, and how many.
func window(params scim.ListRequestParams) (offset, limit int) {
	return max(params.StartIndex-1, 0), min(params.Count, pageSize)
}

// project leaves out what the request does not want (RFC 7644 §3.9). id, schemas and meta are always there.
func project(r *http.Request, attributes scim.ResourceAttributes) scim.ResourceAttributes {
	for name := range attributes {
		if !wanted(r, name) {
			delete(attributes, name)
		}
	}
	return attributes
}

func wanted(r *http.Request, name string) bool {
	q := r.URL.Query()
	if only := q.Get("attributes"); only != "" {
		return lists(only, name)
	}
	return !lists(q.Get("excludedAttributes"), name)
}

// lists reports whether a list of attributes has one, or one below it.
func lists(list, name string) bool {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		item = item[strings.LastIndexByte(item, ':')+1:]
		item, _, _ = strings.Cut(item, ".")
		if strings.EqualFold(item, name) {
			return true
		}
	}
	return false
}
