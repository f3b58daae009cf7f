package connection

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says what went wrong behind the executor, for whoever called it.
type Kind string

// The kinds.
const (
	Revoked        Kind = "revoked"         // the credential is no longer good; the user must connect again
	Expired        Kind = "expired"         // the grant has lived its time; the user must connect again
	StepUp         Kind = "step_up"         // the provider wants the user to sign in anew
	NeedsConsent   Kind = "needs_consent"   // the user has not granted what the tool needs
	OperatorConfig Kind = "operator_config" // only the operator of the org can help
	RateLimited    Kind = "rate_limited"    // wait
	NotFound       Kind = "not_found"       // there is no such thing
	BadRequest     Kind = "bad_request"     // the provider did not take the arguments
	Forbidden      Kind = "forbidden"       // the credential is good but may not do this
	Unavailable    Kind = "unavailable"     // nothing happened; try again later
	OutcomeUnknown Kind = "outcome_unknown"
	BadResponse    Kind = "bad_response"  // what came back cannot be used
	NoConnection   Kind = "no_connection" // the subject has no connection for the provider
	Uncertain      Kind = "uncertain"     // whether a refresh token was spent is not known; the user must connect again
)

const serverError Kind = "server_error" // in a record only: as a 5xx, the provider failed, and may have done it first

// recordKinds are those that a record may see in an answer.
var recordKinds = []Kind{
	Revoked, Expired, StepUp, NeedsConsent, OperatorConfig, RateLimited, NotFound, BadRequest, Forbidden, Unavailable, serverError,
}

const maxRetryAfter = 24 * time.Hour

// Failure is an answer that is no result.
type Failure struct {
	Kind       Kind
	RetryAfter time.Duration // 0: not known
}

// answerRule recognises one sort of failure.
type answerRule struct {
	status []int
	header string
	value  string
	part   string // of a header's value
	at     string
	body   any    // nil: any value
	inText string // a part of the value
	inBody bool
	kind   Kind
}

type retryRule struct {
	header  string
	at      string
	unit    string
	minimum time.Duration
}

// answerRules compiles what a record says of answers, of which each must mean one of the kinds.
func answerRules(where string, records []answerRecord, kinds []Kind, p *problems) []answerRule {
	var out []answerRule
	for i, a := range records {
		place := where + "/" + strconv.Itoa(i)
		rule := answerRule{status: a.Status, header: a.Header.Name, value: a.Header.Value, part: a.Header.Contains, at: a.Body.At, kind: a.Kind}
		rule.inBody, rule.inText = a.Body.At != "" || a.Body.Value != nil || a.Body.Contains != "", a.Body.Contains
		if !slices.Contains(kinds, a.Kind) {
			p.add(place+"/kind", "must be one of the kinds that a provider can mean")
		}
		for _, s := range a.Status {
			if s < 100 || s > 599 {
				p.add(place+"/status", "must be HTTP statuses")
			}
		}
		if len(a.Status) == 0 && rule.header == "" && !rule.inBody {
			p.add(place, "would fit every answer")
		}
		if !validPointer(a.Body.At) {
			p.add(place+"/body/at", "must be a JSON Pointer")
		}
		if rule.header != "" && !token(rule.header) || rule.header == "" && rule.value+rule.part != "" {
			p.add(place+"/header/name", "must be a header name")
		}
		body, err := jsonValue(a.Body.Value)
		switch body.(type) {
		case nil, string, bool, json.Number:
		default:
			err = errors.New("must be a string, a number or a boolean")
		}
		if err != nil {
			p.add(place+"/body/value", "%v", err)
		}
		if body != nil && rule.inText != "" {
			p.add(place+"/body/contains", "must be there alone, or value")
		}
		rule.body = body
		out = append(out, rule)
	}
	return out
}

func (r retryRecord) rule(p *problems) retryRule {
	out := retryRule{header: r.Header, at: r.At, unit: r.Unit}
	units := []string{"seconds", "milliseconds", "epoch_seconds", "epoch_milliseconds", "rfc3339"}
	if r.Header+r.At != "" && !slices.Contains(units, r.Unit) {
		p.add("retry_after/unit", "must be one of %s", strings.Join(units, ", "))
	}
	if !validPointer(r.At) {
		p.add("retry_after/at", "must be a JSON Pointer")
	}
	var err error
	if out.minimum, err = duration(r.Minimum, 0, maxRetryAfter); err != nil {
		p.add("retry_after/minimum", "%v", err)
	}
	return out
}

// Classify says whether an answer is a failure, and which. body is the answer as far as it is JSON. pattern matters: a
// user can replace an own key that is no longer good, an org's shared one only its operator.
func (t Tool) Classify(status int, header http.Header, body []byte, pattern Pattern, now time.Time) (Failure, bool) {
	f := Failure{Kind: t.kind(status, header, body)}
	if f.Kind == "" {
		return Failure{}, false
	}
	if (f.Kind == Revoked || f.Kind == Expired) && pattern == DeveloperSecret {
		f.Kind = OperatorConfig
	}
	if f.Kind == RateLimited || f.Kind == Unavailable {
		f.RetryAfter = t.provider.retry.wait(header, body, now)
	}
	if f.Kind == RateLimited {
		f.RetryAfter = max(f.RetryAfter, t.provider.retry.minimum)
	}
	return f, true
}

func (t Tool) kind(status int, header http.Header, body []byte) Kind {
	for _, rule := range t.provider.answers {
		if !rule.fits(status, header, body) {
			continue
		}
		if rule.kind == serverError {
			return t.failed()
		}
		return rule.kind
	}
	switch {
	case status >= 200 && status < 300:
		return ""
	case status == http.StatusUnauthorized:
		return Revoked
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound, status == http.StatusGone:
		return NotFound
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status >= 500 || status == http.StatusRequestTimeout:
		return t.failed()
	case status >= 400:
		return BadRequest
	}
	if t.risk != Read { // a redirect after a write often means that it was done
		return OutcomeUnknown
	}
	return BadResponse // redirects are not followed
}

// failed: a server that fails may have done it first. Only a record can say that this provider does not.
func (t Tool) failed() Kind {
	if t.risk == Read {
		return Unavailable
	}
	return OutcomeUnknown
}

func (r answerRule) fits(status int, header http.Header, body []byte) bool {
	if len(r.status) > 0 && !slices.Contains(r.status, status) {
		return false
	}
	if r.header != "" {
		values := header.Values(r.header)
		if len(values) == 0 || r.value != "" && !slices.Contains(values, r.value) {
			return false
		}
		if !slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, r.part) }) {
			return false
		}
	}
	if !r.inBody {
		return true
	}
	tree, err := parseJSON(body, answerLimits)
	if err != nil {
		return false
	}
	v, ok := at(tree, r.at)
	if text, _ := v.(string); r.inText != "" {
		return strings.Contains(text, r.inText)
	}
	return ok && (r.body == nil || v == r.body)
}

// wait reads how long to wait: Retry-After (RFC 9110 section 10.2.3), else what the record names.
func (r retryRule) wait(header http.Header, body []byte, now time.Time) time.Duration {
	var d time.Duration
	v := header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(s, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	} else { // none, or in a form that only the record knows
		d = r.said(header, body, now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// said is what the record's own place says, zero when nothing is there.
func (r retryRule) said(header http.Header, body []byte, now time.Time) time.Duration {
	text := ""
	if r.header != "" {
		text = strings.TrimSpace(header.Get(r.header))
	}
	if text == "" && r.at != "" {
		tree, _ := parseJSON(body, answerLimits)
		text, _ = textAt(tree, r.at)
	}
	if r.unit == "rfc3339" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return 0
		}
		return at.Sub(now)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || n > 1e14 {
		return 0
	}
	switch r.unit {
	case "epoch_seconds":
		return time.Unix(int64(n), 0).Sub(now)
	case "epoch_milliseconds":
		return time.UnixMilli(int64(n)).Sub(now)
	case "milliseconds":
		n /= 1000
	}
	return time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second))
}

// MaxResult is the longest result that is handed on, in bytes.
const MaxResult = 1 << 20

// Result maps a successful answer as the record says, with the credential scrubbed. An error says that the answer cannot
// be used; it holds nothing of the answer.
func (t Tool) Result(body []byte, s Scrubber) (json.RawMessage, error) {
	var v any
	if len(strings.TrimSpace(string(body))) > 0 {
		var err error
		if v, err = parseJSON(body, answerLimits); err != nil {
			return nil, errors.New("the provider's answer is not JSON that can be read")
		}
	}
	v, ok := at(v, t.result.At)
	if !ok {
		return nil, errors.New("the provider's answer lacks the part that the record names")
	}
	v = t.result.mapped(v)
	v = s.value(v)
	if t.output.compiled != nil {
		if err := t.output.check(v); err != nil {
			return nil, errors.New("the provider's answer does not fit the tool's result schema")
		}
	}
	text, err := encodeJSON(v)
	if err != nil || len(text) > MaxResult {
		return nil, errors.New("the provider's answer is too long")
	}
	rest := strings.ReplaceAll(string(text), scrubbed, "")
	if s.Text(rest) != rest { // a form that only the encoding makes
		return nil, errors.New("the provider's answer repeats the credential")
	}
	return text, nil
}

func (r resultRecord) mapped(v any) any {
	if len(r.Fields) == 0 {
		return v
	}
	if list, ok := v.([]any); ok {
		out := make([]any, len(list))
		for i, item := range list {
			out[i] = r.fields(item)
		}
		return out
	}
	return r.fields(v)
}

func (r resultRecord) fields(v any) any {
	out := map[string]any{}
	for name, pointer := range r.Fields {
		if x, ok := at(v, pointer); ok {
			out[name] = x
		}
	}
	return out
}
