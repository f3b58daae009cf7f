package connection

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// record is a provider record as its author writes it.
type record struct {
	// Name of the provider: a letter, then up to 31 of [a-z0-9_-]. Tools and scopes begin with it.
	Name string `yaml:"name"`
	// Description for people.
	Description string `yaml:"description"`
	// Title is what people call it; the name when empty.
	Title string `yaml:"title"`
	// Docs is the page of the provider's own documentation that the record was written from.
	Docs string `yaml:"docs"`
	// Registration is where an org registers its client.
	Registration string `yaml:"registration"`
	// Unverified lists what the record says and nobody has found in the provider's documentation.
	Unverified []string `yaml:"unverified"`
	// BaseURL is https://host[:port][/path]. http is for loopback only, and works only where the operator allows it. It may have
	// holes, which are settings.
	BaseURL string `yaml:"base_url"`
	// Hosts that may be called; the host of base_url when empty, and it must be among them. One that begins with a dot is every
	// host below it.
	Hosts []string `yaml:"hosts"`
	// Settings are what differs from one connection to another.
	Settings map[string]settingRecord `yaml:"settings"`
	// OAuth says how a user's account is connected; needed by pattern oauth.
	OAuth *oauthRecord `yaml:"oauth"`
	// Service says how the org's service account gets its tokens; needed by pattern service_account.
	Service *serviceRecord `yaml:"service"`
	// Probe shows whether a credential is good.
	Probe *probeRecord `yaml:"probe"`
	// Auth says for each pattern how its credential is presented. A pattern that is not here cannot be used.
	Auth map[Pattern]authRecord `yaml:"auth"`
	// Headers are sent with every call. No holes.
	Headers map[string]string `yaml:"headers"`
	// Scopes are the delegation scopes of this provider, "name:…", each with what it allows.
	Scopes map[string]string `yaml:"scopes"`
	// Answers say how this provider's answers are to be read, the first that fits; after them, the rules of HTTP.
	Answers []answerRecord `yaml:"answers"`
	// RetryAfter says where a rate-limited answer tells how long to wait, besides Retry-After.
	RetryAfter retryRecord `yaml:"retry_after"`
	// PerUser bounds the calls of one user with the org's developer_secret, in each executor, so that one cannot spend what all
	// share. 60 in a minute when absent.
	PerUser struct {
		Calls int    `yaml:"calls"` // so many, at once at most
		Per   string `yaml:"per"`   // in this time
	} `yaml:"per_user"`
	// Timeout of one call, such as 10s; at most 60s, default 15s.
	Timeout string `yaml:"timeout"`
	// Tools are its operations.
	Tools []toolRecord `yaml:"tools"`
}

// authRecord is one way to present a credential.
type authRecord struct {
	// Style is bearer (RFC 6750), basic (RFC 7617), header, or query.
	Style string `yaml:"style"`
	// Header is the header's name, for style header.
	Header string `yaml:"header"`
	// Template is the header's value with {secret} in it, for style header; {secret} when empty.
	Template string `yaml:"template"`
	// Query is the parameter's name, for style query.
	Query string `yaml:"query"`
	// Reason says why this provider leaves no other way, for style query: URLs end up in logs.
	Reason string `yaml:"reason"`
	// Username is the user name with {username} in it, for style basic; {username} when empty.
	Username string `yaml:"username"`
}

// answerRecord recognises an answer.
type answerRecord struct {
	Status []int `yaml:"status"` // any of these; every status when empty
	Header struct {
		Name  string `yaml:"name"`  // in any case
		Value string `yaml:"value"` // any value when empty
		// Contains is a part of the value, for one that holds more: error="insufficient_claims" of a WWW-Authenticate.
		Contains string `yaml:"contains"`
	} `yaml:"header"`
	Body struct {
		At    string `yaml:"at"`    // JSON Pointer
		Value any    `yaml:"value"` // a string, number or boolean; any value when absent
		// Contains is a part of a text, for one that goes on with what it is about.
		Contains string `yaml:"contains"`
	} `yaml:"body"`
	// Kind is what it means.
	Kind Kind `yaml:"kind"`
}

// retryRecord says where a time to wait is found.
type retryRecord struct {
	Header string `yaml:"header"` // such as x-ratelimit-reset
	At     string `yaml:"at"`     // in the body, a JSON Pointer
	Unit   string `yaml:"unit"`   // of either: seconds, milliseconds, epoch_seconds, epoch_milliseconds or rfc3339
	// Minimum to wait when a rate-limited answer names no time.
	Minimum string `yaml:"minimum"`
}

// toolRecord is one operation.
type toolRecord struct {
	// Name of the operation: a letter, then up to 63 of [a-z0-9_].
	Name string `yaml:"name"`
	// Description for a model.
	Description string `yaml:"description"`
	// Method is GET, HEAD, POST, PUT, PATCH or DELETE.
	Method string `yaml:"method"`
	// Path below base_url, with holes: /repos/{owner}/{repo}. Every hole is a required argument, or a setting.
	Path string `yaml:"path"`
	// Query has holes too, for arguments and settings; a member is left out when its argument is absent.
	Query map[string]string `yaml:"query"`
	// Headers have holes as query has.
	Headers map[string]string `yaml:"headers"`
	// Body is a JSON value whose strings have holes. A string that is one hole alone keeps the argument's type.
	Body any `yaml:"body"`
	// Encoding of the body is json (the default) or form: one flat object as application/x-www-form-urlencoded.
	Encoding string `yaml:"encoding"`
	// GraphQL is a document, and the body then its variables: POST {"query": graphql, "variables": body}. It has no holes: an
	// argument in it could end the operation and begin another.
	GraphQL string `yaml:"graphql"`
	// Arguments is a JSON Schema (2020-12): an object without additional properties.
	Arguments any `yaml:"arguments"`
	// Result says what of the answer is handed on.
	Result resultRecord `yaml:"result"`
	// Scopes that a token needs, all of them.
	Scopes []string `yaml:"scopes"`
	// Risk is read, write or destructive.
	Risk Risk `yaml:"risk"`
	// Groups are more groups of the tool's action, beside the one of its risk: "triage" is Action::"github.triage".
	Groups []string `yaml:"groups"`
	// Idempotency names the header in which this provider takes an idempotency key. None when empty.
	Idempotency string `yaml:"idempotency_header"`
}

// resultRecord maps an answer.
type resultRecord struct {
	// At is a JSON Pointer to what is meant; the whole answer when empty.
	At string `yaml:"at"`
	// Fields builds an object: name to JSON Pointer. For a list, one object for each item. A missing value is left out.
	Fields map[string]string `yaml:"fields"`
	// Schema is a JSON Schema of the result after mapping. None when absent.
	Schema any `yaml:"schema"`
}

// decodeRecord reads strict YAML: one document, known keys, no anchors (aliases grow, and hide what a reader sees).
func decodeRecord(text []byte) (record, error) {
	if len(text) > MaxRecord {
		return record{}, fmt.Errorf("longer than %d bytes", MaxRecord)
	}
	if bytes.ContainsRune(text, 0) {
		return record{}, errors.New("holds a NUL byte")
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return record{}, err
	}
	if err := plainYAML(&tree, 0); err != nil {
		return record{}, err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var r record
	if err := d.Decode(&r); err != nil {
		if errors.Is(err, io.EOF) {
			return record{}, errors.New("is empty")
		}
		return record{}, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return record{}, errors.New("holds more than one document")
	}
	return r, nil
}

func plainYAML(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		return fmt.Errorf("line %d: anchors, aliases and merges are not allowed", n.Line)
	}
	if depth > 64 {
		return fmt.Errorf("line %d: nested deeper than 64", n.Line)
	}
	for _, c := range n.Content {
		if err := plainYAML(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// jsonValue turns what YAML decoded into what parseJSON would have made of the same JSON.
func jsonValue(v any) (any, error) {
	switch x := v.(type) {
	case nil, bool, string:
		return x, nil
	case int:
		return number(strconv.Itoa(x))
	case int64:
		return number(strconv.FormatInt(x, 10))
	case uint64:
		return number(strconv.FormatUint(x, 10))
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, errors.New("a number that JSON does not have")
		}
		return number(strconv.FormatFloat(x, 'g', -1, 64))
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			j, err := jsonValue(item)
			if err != nil {
				return nil, err
			}
			out[i] = j
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			j, err := jsonValue(item)
			if err != nil {
				return nil, err
			}
			out[k] = j
		}
		return out, nil
	}
	return nil, fmt.Errorf("a value of a kind that JSON does not have (%T): quote it", v)
}

// duration reads a record's duration, between 0 and most.
func duration(text string, otherwise, most time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > most {
		return 0, fmt.Errorf("%q is no duration between 0 and %s", text, most)
	}
	return d, nil
}

// problems collects what is wrong with a record, each with its place.
type problems []string

func (p *problems) add(place, format string, args ...any) {
	*p = append(*p, place+": "+fmt.Sprintf(format, args...))
}

// err is nil when there are none. It shows at most 20.
func (p problems) err(file string) error {
	if len(p) == 0 {
		return nil
	}
	shown := p[:min(len(p), 20)]
	return fmt.Errorf("%w %s: %s", ErrRecord, file, strings.Join(shown, "; "))
}
