package jose

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep the JSON that Decode reads may nest.
const MaxDepth = 32

// Decode reads one JSON value into v: exact names, no duplicates, valid UTF-8, at most MaxDepth deep (JW9, ACT13).
// Members that v does not have are allowed and dropped, unless its type says otherwise.
func Decode(data []byte, v any) error { return decode(data, v) }

// DecodeClosed is Decode for documents whose every member must be known to v, such as configuration.
func DecodeClosed(data []byte, v any) error { return decode(data, v, json.RejectUnknownMembers(true)) }

// DecodeClaims is Decode for claims: a null is no way to leave a claim out, so it is refused in every member of v.
func DecodeClaims(data []byte, v any) error {
	return decode(data, v, json.WithUnmarshalers(refuseNull))
}

// Encode writes v as JSON: members in the order of its type, names of a map sorted, raw values as they were given.
func Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v, json.Deterministic(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return data, nil
}

// refuseNull is consulted for every value that is decoded, whatever its Go type.
var refuseNull = json.UnmarshalFromFunc(func(d *jsontext.Decoder, _ any) error {
	if d.PeekKind() == 'n' {
		return fmt.Errorf("%w: null", ErrMalformed)
	}
	return errors.ErrUnsupported // go on with the type's own decoding
})

func decode(data []byte, v any, options ...json.Options) error {
	if err := checkDepth(data); err != nil {
		return err
	}
	err := json.Unmarshal(data, v, json.JoinOptions(options...))
	if err == nil {
		return nil
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		semantic.JSONValue = nil // an error names the place, never the value
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// checkDepth counts brackets outside strings before the decoder allocates anything for them. It need not understand
// JSON: what is not JSON is refused by the decoder afterwards.
func checkDepth(data []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("%w: nested deeper than %d", ErrMalformed, MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
