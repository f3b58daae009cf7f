package connection

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/onbehalf/obo/vault"
)

// ArgumentError says which argument a tool does not take, and why. It holds no value.
type ArgumentError struct {
	Path    string // JSON Pointer into the arguments; empty for the whole
	Message string
}

// Error implements error.
func (e *ArgumentError) Error() string {
	return cmp.Or(cut(e.Path, 200), "the arguments object") + " " + e.Message
}

func argumentError(path, message string) error { return &ArgumentError{Path: path, Message: message} }

// ErrCredential says that a credential cannot be presented as the provider's record says. Only who set it can help.
var ErrCredential = errors.New("connection: the credential cannot be presented")

// Arguments are arguments that a tool accepted. Policy and provider both get them from here, so they see the same.
type Arguments struct {
	tool   string
	values map[string]any
	text   []byte
}

// JSON is the arguments in canonical form: one object, names sorted, whole numbers in plain decimal.
func (a Arguments) JSON() []byte { return bytes.Clone(a.text) }

// Arguments reads and validates the arguments of a call: at most MaxArguments bytes of strict JSON that the tool's schema
// accepts. Empty means {}. Errors are *ArgumentError.
func (t Tool) Arguments(raw []byte) (Arguments, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = []byte("{}")
	}
	v, err := parseJSON(raw, argumentLimits)
	if err != nil {
		return Arguments{}, argumentError("", "cannot be read: "+err.Error())
	}
	if err := t.input.check(v); err != nil {
		return Arguments{}, err
	}
	values, ok := v.(map[string]any)
	if !ok {
		return Arguments{}, argumentError("", "must be one JSON object")
	}
	text, err := encodeJSON(values)
	if err != nil {
		return Arguments{}, argumentError("", "cannot be written again")
	}
	return Arguments{tool: t.name, values: values, text: text}, nil
}

// Request builds the call, without a credential. key is the idempotency key, sent when the provider takes one. What an
// argument may not hold where it goes is an *ArgumentError.
func (t Tool) Request(ctx context.Context, a Arguments, key string) (*http.Request, error) {
	if a.tool != t.name {
		return nil, fmt.Errorf("connection: arguments of %q for %q", a.tool, t.name)
	}
	target, err := t.target(a)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if t.body != nil {
		filled, _, err := fillBody(t.body, a.values)
		if err != nil {
			return nil, err
		}
		encode := encodeJSON
		if t.form {
			encode = encodeForm
		}
		text, err := encode(filled)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, t.method, target, body)
	if err != nil {
		return nil, errors.New("connection: the URL cannot be built")
	}
	// The last look before it goes out: whatever the templates made, the host is one of the record's.
	if err := t.provider.allowed(r); err != nil {
		return nil, err
	}
	if err := t.setHeaders(r, a, key); err != nil {
		return nil, err
	}
	return r, nil
}

// encodeForm writes a flat object (WHATWG URL, application/x-www-form-urlencoded).
func encodeForm(v any) ([]byte, error) {
	form := url.Values{}
	flat, _ := v.(map[string]any)
	for name, item := range flat {
		text, err := scalar(name, item)
		if err != nil {
			return nil, err
		}
		form.Set(name, text)
	}
	return []byte(form.Encode()), nil
}

// target is the URL with the arguments in it.
func (t Tool) target(a Arguments) (string, error) {
	if t.provider.base == nil {
		return "", errors.New("connection: where the provider is depends on the connection: use At first")
	}
	path, ok, err := t.path.fill(a.values, pathValue)
	if err != nil {
		return "", err
	}
	if !ok || dotSegment(path) {
		return "", argumentError("", "do not make a path")
	}
	var query []string
	for _, m := range t.query {
		value, present, err := m.fill(a.values, queryValue)
		if err != nil {
			return "", err
		}
		if present {
			query = append(query, escape(m.name)+"="+value)
		}
	}
	target := t.provider.base.Scheme + "://" + t.provider.base.Host + strings.TrimSuffix(t.provider.base.EscapedPath(), "/") + path
	if len(query) > 0 {
		target += "?" + strings.Join(query, "&")
	}
	return target, nil
}

func (t Tool) setHeaders(r *http.Request, a Arguments, key string) error {
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "obo-executor")
	for name, values := range t.provider.headers {
		r.Header[name] = values
	}
	for _, m := range t.headers {
		value, present, err := m.fill(a.values, headerValue)
		if err != nil {
			return err
		}
		if present {
			r.Header.Set(m.name, value)
		}
	}
	switch {
	case t.form:
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case t.body != nil:
		r.Header.Set("Content-Type", "application/json")
	}
	if t.idempotency != "" {
		r.Header.Set(t.idempotency, key)
	}
	return nil
}

// allowed reports whether a request goes where the record says and nowhere else.
func (p *Provider) allowed(r *http.Request) error {
	if p.base == nil || r.URL.Scheme != p.base.Scheme || r.URL.Host != p.base.Host || r.URL.User != nil || r.Host != p.base.Host {
		return errors.New("connection: the request would go to another host")
	}
	return nil
}

// Authorize presents a credential as the record says for its pattern. Errors wrap ErrCredential and hold nothing of it.
func (p Provider) Authorize(r *http.Request, pattern Pattern, c vault.Credential) error {
	a, ok := p.auth[pattern]
	if !ok {
		return fmt.Errorf("%w: provider %s takes no %s", ErrCredential, p.name, pattern)
	}
	if err := p.allowed(r); err != nil {
		return err
	}
	secret := string(c.Reveal())
	if !a.carries(secret) {
		return fmt.Errorf("%w: it must be printable ASCII to travel in a header", ErrCredential)
	}
	switch a.Style {
	case "bearer":
		r.Header.Set("Authorization", "Bearer "+secret)
	case "header":
		r.Header.Set(a.Header, strings.Replace(cmp.Or(a.Template, "{secret}"), "{secret}", secret, 1))
	case "basic":
		if strings.Contains(c.Username(), ":") {
			return fmt.Errorf("%w: a user name must not hold a colon (RFC 7617)", ErrCredential)
		}
		r.SetBasicAuth(strings.Replace(cmp.Or(a.Username, "{username}"), "{username}", c.Username(), 1), secret)
	case "query":
		if r.URL.RawQuery != "" {
			r.URL.RawQuery += "&"
		}
		r.URL.RawQuery += escape(a.Query) + "=" + escape(secret)
	default:
		return fmt.Errorf("%w: unknown style %q", ErrCredential, a.Style)
	}
	return nil
}

// carries reports whether a secret can travel in the provider's style: in a header it must be printable ASCII.
func (a authRecord) carries(secret string) bool {
	return a.Style == "basic" || a.Style == "query" || fieldValue(secret)
}
