package connection

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// template is text with holes: "/repos/{owner}/{repo}". A brace that opens no hole is refused, so there is no escape.
type template struct {
	literals []string // one more than holes
	holes    []string // argument names
}

func parseTemplate(text string) (template, error) {
	var t template
	for {
		open := strings.IndexAny(text, "{}")
		if open < 0 {
			t.literals = append(t.literals, text)
			return t, nil
		}
		end := strings.IndexByte(text, '}')
		if text[open] == '}' || end < 0 || !argumentName.MatchString(text[open+1:end]) {
			return template{}, fmt.Errorf("braces must hold an argument's name, as in {owner}")
		}
		t.literals = append(t.literals, text[:open])
		t.holes = append(t.holes, text[open+1:end])
		text = text[end+1:]
	}
}

// String is the text that it was made of.
func (t template) String() string {
	var b strings.Builder
	for i, hole := range t.holes {
		b.WriteString(t.literals[i] + "{" + hole + "}")
	}
	return b.String() + t.literals[len(t.literals)-1]
}

// whole reports the argument when the template is one hole and nothing else: then a body keeps the argument's type.
func (t template) whole() (string, bool) {
	if len(t.holes) == 1 && t.literals[0] == "" && t.literals[1] == "" {
		return t.holes[0], true
	}
	return "", false
}

// fill writes the arguments into the holes, each through encode. The second result is false when an argument is absent.
func (t template) fill(args map[string]any, encode func(name, value string) (string, error)) (string, bool, error) {
	var b strings.Builder
	for i, hole := range t.holes {
		b.WriteString(t.literals[i])
		v, ok := args[hole]
		if !ok || v == nil {
			return "", false, nil
		}
		s, err := scalar(hole, v)
		if err != nil {
			return "", false, err
		}
		if s, err = encode(hole, s); err != nil {
			return "", false, err
		}
		b.WriteString(s)
	}
	b.WriteString(t.literals[len(t.literals)-1])
	return b.String(), true, nil
}

// scalar is a value as text. A list is joined by commas, so none of its items may hold one.
func scalar(name string, v any) (string, error) {
	switch x := v.(type) {
	case string:
		return x, nil
	case json.Number:
		return x.String(), nil
	case bool:
		return fmt.Sprint(x), nil
	case []any:
		parts := make([]string, len(x))
		for i, item := range x {
			s, err := scalar(name, item)
			if _, nested := item.([]any); err != nil || nested || strings.Contains(s, ",") {
				return "", argumentError("/"+name, "cannot be written as a list: an item holds a comma, or is no plain value")
			}
			parts[i] = s
		}
		return strings.Join(parts, ","), nil
	}
	return "", argumentError("/"+name, "cannot be written as text")
}

// pathValue encodes an argument for a path (RFC 3986 section 2.3: everything but unreserved characters). What could change
// which resource is meant is refused, however often it is encoded: servers and proxies differ in how often they decode.
func pathValue(name, value string) (string, error) {
	if value == "" {
		return "", argumentError("/"+name, "must not be empty: it is a part of the URL's path")
	}
	decoded := value
	for range 5 {
		if decoded == "." || decoded == ".." || strings.ContainsAny(decoded, "/\\;") || strings.ContainsFunc(decoded, control) {
			return "", argumentError("/"+name, "must not hold a slash, a semicolon, a control character or a dot segment")
		}
		next, err := url.PathUnescape(decoded)
		if err != nil {
			next = decoded // a percent sign that encodes nothing
		}
		if next == decoded {
			return escape(value), nil
		}
		decoded = next
	}
	return "", argumentError("/"+name, "is encoded too often")
}

// queryValue encodes an argument for a query.
func queryValue(_, value string) (string, error) { return escape(value), nil }

// headerValue accepts what a header may hold (RFC 9110 section 5.5, without obsolete bytes): nothing that could end it.
func headerValue(name, value string) (string, error) {
	if !fieldValue(value) {
		return "", argumentError("/"+name, "must be printable ASCII: it goes into a header")
	}
	return value, nil
}

// textValue is for bodies, whose JSON encoding is done elsewhere.
func textValue(_, value string) (string, error) { return value, nil }

func fieldValue(s string) bool {
	return len(s) <= 8<<10 && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

func control(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f || r == utf8.RuneError }

// escape percent-encodes everything but RFC 3986's unreserved characters.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// member is a named template of a query or of headers.
type member struct {
	name string
	template
}

// members parses a map of templates into name order.
func members(m map[string]string) ([]member, error) {
	out := make([]member, 0, len(m))
	for name, text := range m {
		t, err := parseTemplate(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, member{name, t})
	}
	slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// fillBody replaces the holes of a body. A member or item whose argument is absent is left out.
func fillBody(v any, args map[string]any) (any, bool, error) {
	switch x := v.(type) {
	case template:
		if name, ok := x.whole(); ok {
			arg, present := args[name]
			return arg, present, nil
		}
		return x.fill(args, textValue)
	case map[string]any:
		out := map[string]any{}
		for k, item := range x {
			filled, ok, err := fillBody(item, args)
			if err != nil {
				return nil, false, err
			}
			if ok {
				out[k] = filled
			}
		}
		return out, true, nil
	case []any:
		out := []any{}
		for _, item := range x {
			filled, ok, err := fillBody(item, args)
			if err != nil {
				return nil, false, err
			}
			if ok {
				out = append(out, filled)
			}
		}
		return out, true, nil
	}
	return v, true, nil
}

// parseBody turns every string of a body into a template, and reports the arguments that it names.
func parseBody(v any, used func(string)) (any, error) {
	switch x := v.(type) {
	case string:
		t, err := parseTemplate(x)
		for _, h := range t.holes {
			used(h)
		}
		return t, err
	case map[string]any:
		for k, item := range x {
			t, err := parseBody(item, used)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			x[k] = t
		}
	case []any:
		for i, item := range x {
			t, err := parseBody(item, used)
			if err != nil {
				return nil, fmt.Errorf("%d: %w", i, err)
			}
			x[i] = t
		}
	}
	return v, nil
}
