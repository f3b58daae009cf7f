package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth  = 8
	maxFields = 60
	maxItems  = 2
)

// shape is a body with every value taken out: a text is its length, a number that it is one. An error's code stays, where codes
// stand and when it has the form of one; of an answer that is no failure, only where nothing but errors stand. Names stay when
// they look like names: some providers put what is somebody's there.
func shape(body []byte, contentType string, failed bool, clean func(string) string) any {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil {
		if _, err := d.Token(); err == io.EOF {
			return shapeOf(v, "", 0, failed, clean)
		}
	}
	if contentType == formType {
		if form, err := url.ParseQuery(string(body)); err == nil {
			return formShape(form, failed, clean)
		}
	}
	if len(body) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes that are not JSON", len(body))
}

func shapeOf(v any, name string, depth int, failed bool, clean func(string) string) any {
	if depth > maxDepth {
		return "deeper"
	}
	switch x := v.(type) {
	case string:
		if holdsCode(name, failed) && errorCode(x) == x {
			return clean(x)
		}
		return fmt.Sprintf("text(%d)", utf8.RuneCountInString(x))
	case json.Number:
		text := x.String()
		said := holdsCode(name, failed) && len(text) <= 6 || strings.Contains(name, "expires") && len(text) <= 10
		if said && clean(text) == text {
			return x
		}
		return "number"
	case []any:
		var out []any
		for _, item := range x[:min(len(x), maxItems)] {
			out = append(out, shapeOf(item, name, depth+1, failed, clean))
		}
		if more := len(x) - len(out); more > 0 {
			out = append(out, fmt.Sprintf("%d more", more))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for i, field := range slices.Sorted(maps.Keys(x)) {
			if i == maxFields {
				out["…"] = fmt.Sprintf("%d more", len(x)-i)
				break
			}
			out[clean(fieldName(field))] = shapeOf(x[field], strings.ToLower(field), depth+1, failed, clean)
		}
		return out
	}
	return v // true, false and null
}

// formShape is shape for parameters.
func formShape(q url.Values, failed bool, clean func(string) string) any {
	out := map[string]any{}
	for name, values := range q {
		for _, v := range values {
			out[clean(fieldName(name))] = shapeOf(v, strings.ToLower(name), 1, failed && name != "code", clean)
		}
	}
	return out
}

func names(q url.Values, clean func(string) string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(q)) {
		out = append(out, clean(fieldName(name)))
	}
	return strings.Join(out, " ")
}

// holdsCode reports whether codes stand in a field of this name.
func holdsCode(name string, failed bool) bool {
	if slices.Contains([]string{"error", "error_code", "errorcode", "error_subtype", "suberror", "token_type"}, name) {
		return true
	}
	return failed && slices.Contains([]string{"code", "status", "reason", "type", "errors"}, name)
}

// A code is words of letters: what is random has a digit before long.
var (
	codeForm = regexp.MustCompile(`^([A-Za-z]{1,24}([_.-][A-Za-z]{1,24}){0,7}|[0-9]{1,6})$`)
	nameForm = regexp.MustCompile(`^[A-Za-z_$][A-Za-z_$.-]{0,39}[0-9]{0,2}$`)
)

func errorCode(text string) string {
	if len(text) <= 64 && codeForm.MatchString(text) {
		return text
	}
	return "not of the form of a code"
}

var scopeForm = regexp.MustCompile(`^[A-Za-z]{1,30}[0-9]{0,2}([:/._-]{1,3}[A-Za-z]{0,30}[0-9]{0,2}){0,12}$`)

// scopeText is a scope, when it was asked for or looks like one: a record may point at something else.
func scopeText(scope string, asked []string) string {
	if slices.Contains(asked, scope) || len(scope) <= 128 && scopeForm.MatchString(scope) {
		return scope
	}
	return fmt.Sprintf("text(%d)", utf8.RuneCountInString(scope))
}

// fieldName is a name as long as it looks like one.
func fieldName(name string) string {
	if nameForm.MatchString(name) {
		return name
	}
	return fmt.Sprintf("name(%d)", utf8.RuneCountInString(name))
}

func oneLine(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(text)
}
