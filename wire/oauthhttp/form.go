package oauthhttp

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of a token request. Two tokens of 16 KiB and an assertion fit; what does not is nobody's honest request.
const (
	maxBody       = 64 << 10
	maxParameters = 64
)

// form is the parameters of a token request. It has names, not a map of everything: an unknown parameter is read over
// (TE4), and nothing of the query can come in (TE6; http.Request.Form would merge it).
type form struct {
	single   map[string]string // by name; never an empty value (TE3)
	resource []string
	audience []string
}

// known are the parameters that are read, besides resource and audience.
var known = []string{
	"grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "scope",
	"requested_token_type", "authorization_details", "requested_expires_in", "may_act",
	"assertion", "request_context", "request_details", "token", "token_type_hint",
	"client_id", "client_secret", "client_assertion", "client_assertion_type",
}

func (f form) get(name string) string { return f.single[name] }

// readForm reads a token request's body. Every error is the client's and may be shown to it.
func readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return form{}, errors.New("parameters belong in the body, never in the URI, which logs and proxies keep")
	}
	if values := r.Header.Values("Content-Type"); len(values) != 1 || !formType(values[0]) {
		return form{}, errors.New("the body must be application/x-www-form-urlencoded in UTF-8")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return form{}, errors.New("the body must not be compressed")
	}
	if r.ContentLength > maxBody {
		return form{}, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return form{}, errTooLarge
		}
		return form{}, errors.New("the body did not arrive whole")
	}
	return parseForm(string(body))
}

var errTooLarge = errors.New("the body is larger than 65536 bytes")

func formType(value string) bool {
	media, parameters, err := mime.ParseMediaType(value)
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	charset, ok := parameters["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// parseForm parses application/x-www-form-urlencoded text. A parameter may stand once, also with an empty value and also
// when we do not know it: readers that disagree on which one counts are how a request is smuggled (TE5). Only resource
// and audience repeat (RFC 8693 section 2.1).
func parseForm(body string) (form, error) {
	f := form{single: make(map[string]string, 8)}
	var seen []string
	count := 0
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		if count++; count > maxParameters {
			return form{}, errors.New("the body holds too many parameters")
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName)
		if err != nil {
			return form{}, err
		}
		value, err := unescape(rawValue)
		if err != nil {
			return form{}, err
		}
		switch {
		case name == "resource":
			f.resource = appendPresent(f.resource, value)
		case name == "audience":
			f.audience = appendPresent(f.audience, value)
		case slices.Contains(seen, name):
			return form{}, repeatedError{name}
		default:
			seen = append(seen, name)
			if value != "" && slices.Contains(known, name) {
				f.single[name] = value
			}
		}
	}
	return f, nil
}

// appendPresent appends a value unless it is empty, which counts as absent (TE3).
func appendPresent(values []string, value string) []string {
	if value == "" {
		return values
	}
	return append(values, value)
}

type repeatedError struct{ name string }

func (e repeatedError) Error() string {
	if !slices.Contains(known, e.name) {
		return "a parameter is given more than once"
	}
	return e.name + " is given more than once"
}

func unescape(s string) (string, error) {
	if strings.ContainsRune(s, ';') {
		return "", errors.New("the body holds a bare semicolon, which some readers take for a separator")
	}
	out, err := url.QueryUnescape(s)
	if err != nil || !utf8.ValidString(out) {
		return "", errors.New("the body is not well-formed application/x-www-form-urlencoded text in UTF-8")
	}
	return out, nil
}
