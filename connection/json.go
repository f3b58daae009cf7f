package connection

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// limits bound a JSON document before its values are looked at. They hold for what agents and providers send.
type limits struct {
	bytes  int
	depth  int
	items  int // of one array: some JSON Schema keywords cost the square of it
	values int // of the whole document
}

var (
	argumentLimits = limits{bytes: MaxArguments, depth: 32, items: 1000, values: 20_000}
	answerLimits   = limits{bytes: MaxAnswer, depth: 64, items: 100_000, values: 1_000_000}
)

// MaxArguments is the longest arguments document, in bytes.
const MaxArguments = 256 << 10

// MaxAnswer is the longest answer of a provider that is read, in bytes.
const MaxAnswer = 4 << 20

// Numbers longer than this, or with a larger exponent, are refused: arbitrary precision would cost the reader, not the
// sender (1e999999 is nine bytes).
const (
	maxNumber   = 64
	maxExponent = 64
)

// parseJSON reads exactly one JSON value: exact names, no duplicates, valid UTF-8 (RFC 7493). Numbers are json.Number;
// whole ones are in plain decimal, so that policy and provider read the same digits (1e2 and 100.0 become 100).
func parseJSON(data []byte, l limits) (any, error) {
	if len(data) > l.bytes {
		return nil, fmt.Errorf("longer than %d bytes", l.bytes)
	}
	r := reader{dec: jsontext.NewDecoder(bytes.NewReader(data)), limits: l}
	v, err := r.value()
	if err != nil {
		return nil, readable(err)
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// readable keeps a library's error from quoting the document.
func readable(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("a name twice in one object at byte %d", syntax.ByteOffset)
		}
		return fmt.Errorf("not JSON at byte %d", syntax.ByteOffset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("not JSON: it ends too early")
	}
	return err
}

type reader struct {
	dec *jsontext.Decoder
	limits
	seen int
}

func (r *reader) value() (any, error) {
	if r.seen++; r.seen > r.values {
		return nil, fmt.Errorf("more than %d values", r.values)
	}
	t, err := r.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	if r.dec.StackDepth() > r.depth {
		return nil, fmt.Errorf("nested deeper than %d", r.depth)
	}
	switch t.Kind() {
	case '{':
		return r.object()
	case '[':
		return r.array()
	case '"':
		return t.String(), nil
	case '0':
		return number(t.String())
	case 't', 'f':
		return t.Bool(), nil
	default:
		return nil, nil
	}
}

func (r *reader) object() (any, error) {
	out := map[string]any{}
	for r.dec.PeekKind() != '}' {
		name, err := r.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
	_, err := r.dec.ReadToken()
	return out, err
}

func (r *reader) array() (any, error) {
	out := []any{}
	for r.dec.PeekKind() != ']' {
		if len(out) == r.items {
			return nil, fmt.Errorf("an array of more than %d items", r.items)
		}
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := r.dec.ReadToken()
	return out, err
}

func number(text string) (any, error) {
	if len(text) > maxNumber {
		return nil, fmt.Errorf("a number of more than %d digits", maxNumber)
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e > maxExponent || e < -maxExponent {
			return nil, fmt.Errorf("a number with an exponent beyond %d", maxExponent)
		}
	}
	if strings.ContainsAny(text, ".eE") || text == "-0" {
		if r, ok := new(big.Rat).SetString(text); ok && r.IsInt() {
			return json.Number(r.Num().String()), nil
		}
	}
	return json.Number(text), nil
}

// encodeJSON writes a value of parseJSON, names sorted.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// at follows a JSON Pointer (RFC 6901).
func at(v any, pointer string) (any, bool) {
	if pointer == "" {
		return v, true
	}
	for _, part := range strings.Split(pointer[1:], "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) || strconv.Itoa(i) != part {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// validPointer reports whether text is a JSON Pointer.
func validPointer(text string) bool { return text == "" || strings.HasPrefix(text, "/") }
