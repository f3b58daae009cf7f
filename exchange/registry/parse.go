package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

// MaxDocument is the largest document, in bytes.
const MaxDocument = 4 << 20

// Parse reads a document, JSON or YAML, strictly: an unknown, misspelt or repeated member is an error, and so is a second
// document behind the first. It checks the form alone; Validate checks the sense.
func Parse(data []byte) (Document, error) {
	var d Document
	return d, parse(data, &d)
}

// ParsePlatform reads the operator's own document: {"policies": [...]}.
func ParsePlatform(data []byte) ([]policy.File, error) {
	var d platform
	return d.Policies, parse(data, &d)
}

// EncodePlatform writes what ParsePlatform reads.
func EncodePlatform(policies []policy.File) ([]byte, error) { return jose.Encode(platform{policies}) }

type platform struct {
	Policies []policy.File `json:"policies"`
}

// parse sends YAML through JSON, so that there is one strict reading and one set of names.
func parse(data []byte, v any) error {
	if len(data) > MaxDocument {
		return &InvalidError{[]Problem{{Message: fmt.Sprintf("the document has %d bytes; at most %d are read", len(data), MaxDocument)}}}
	}
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var err error
		if data, err = yamlToJSON(data); err != nil {
			return &InvalidError{[]Problem{{Message: err.Error()}}}
		}
	}
	if err := jose.DecodeClosed(data, v); err != nil {
		return &InvalidError{[]Problem{{Message: err.Error()}}}
	}
	return nil
}

func yamlToJSON(data []byte) ([]byte, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	// A map whose keys are not strings, and a float that is not a number, have no JSON and are refused here.
	out, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("not a plain YAML document: %w", err)
	}
	return out, nil
}
