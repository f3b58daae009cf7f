package connection

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onbehalf/obo/vault"
)

// ReadGrant reads the answer of the token endpoint for a pattern. The error is a *Refusal. Nothing of the answer is in it but the
// provider's error code.
func (p Provider) ReadGrant(pattern Pattern, status int, header http.Header, body []byte, now time.Time) (Grant, error) {
	var rules responseRules
	switch {
	case pattern == OAuth && p.oauth != nil:
		rules = p.oauth.response
	case pattern == ServiceAccount && p.service != nil:
		rules = p.service.response
	default:
		return Grant{}, ErrUnsupported
	}
	tree, err := parseJSON(body, limits{bytes: MaxTokenAnswer, depth: 16, items: 1000, values: 10_000})
	if err != nil {
		tree = nil
	}
	if pattern == OAuth {
		for _, v := range p.oauth.variants {
			if text, _ := textAt(tree, v.at); text == v.value {
				rules = v.response
				break
			}
		}
	}
	access, ok := textAt(tree, rules.AccessToken)
	if status < 200 || status > 299 || !ok || access == "" || rules.fails(status, header, body) {
		return Grant{}, p.refusal(rules, status, header, body, tree, now)
	}
	if len(access) > vault.MaxSecret {
		return Grant{}, &Refusal{Failure: Failure{Kind: Unavailable}, Status: status, Code: "token_too_long"}
	}
	g := Grant{Access: []byte(access), Settings: map[string]string{}}
	if refresh, ok := textAt(tree, rules.RefreshToken); ok && refresh != "" && len(refresh) <= vault.MaxSecret { // never overwrite one with nothing
		g.Refresh = []byte(refresh)
	}
	g.Expires = rules.instant(tree, rules.ExpiresIn, now)
	if g.Expires.IsZero() && rules.life > 0 {
		g.Expires = now.Add(rules.life)
	}
	if rules.RefreshExpiresIn != "" {
		g.RefreshExpires = rules.instant(tree, rules.RefreshExpiresIn, now)
	}
	if p.oauth != nil && pattern == OAuth && g.RefreshExpires.IsZero() && p.oauth.life > 0 {
		g.RefreshExpires = now.Add(p.oauth.life)
	}
	if v, ok := at(tree, rules.Scope); ok {
		if list := scopeList(v, rules.ScopeSeparator); len(list) > 0 { // an empty scope is none (RFC 6749 section 3.3): not said
			g.Scopes = list
		}
	}
	g.Account = label(tree, rules.Account)
	for name, s := range p.settings {
		if s.From != fromGrant {
			continue
		}
		if v, ok := textAt(tree, s.At); ok && len(v) <= maxSetting && s.pattern.MatchString(v) {
			g.Settings[name] = v
		}
	}
	return g, nil
}

// fails reports whether a rule for failures fits an answer that has a token all the same.
func (r responseRules) fails(status int, header http.Header, body []byte) bool {
	return slices.ContainsFunc(r.errors, func(rule answerRule) bool { return rule.fits(status, header, body) })
}

// grantCodes are the error codes of RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6, RFC 8628 and RFC 9470.
var grantCodes = map[string]Kind{
	"invalid_grant":                     Revoked,
	"invalid_client":                    OperatorConfig,
	"unauthorized_client":               OperatorConfig,
	"unsupported_grant_type":            OperatorConfig,
	"invalid_request":                   OperatorConfig,
	"invalid_scope":                     OperatorConfig,
	"interaction_required":              StepUp,
	"login_required":                    StepUp,
	"consent_required":                  StepUp,
	"account_selection_required":        StepUp,
	"insufficient_user_authentication":  StepUp,
	"slow_down":                         RateLimited,
	"temporarily_unavailable":           Unavailable,
	"server_error":                      Unavailable,
	"unmet_authentication_requirements": StepUp,
	"unsupported_token_type":            OperatorConfig,
	"invalid_target":                    OperatorConfig,
	"invalid_dpop_proof":                OperatorConfig,
	"use_dpop_nonce":                    Unavailable,
	"invalid_authorization_details":     OperatorConfig,
	"incorrect_client_credentials":      OperatorConfig,
	"redirect_uri_mismatch":             OperatorConfig,
	"application_suspended":             OperatorConfig,
	"unverified_user_email":             StepUp,
}

// refusal says what a failure means: by the record, then by its code, then by its status. What nobody knows is transient, and keeps
// the token: a proxy's page is no revocation.
func (p Provider) refusal(rules responseRules, status int, header http.Header, body []byte, tree any, now time.Time) *Refusal {
	out := &Refusal{Status: status, Code: code(tree)}
	for _, rule := range rules.errors {
		if rule.fits(status, header, body) {
			out.Kind = rule.kind
			break
		}
	}
	switch {
	case out.Kind != "":
	case status == http.StatusTooManyRequests:
		out.Kind = RateLimited
	case status >= 500 || status == http.StatusRequestTimeout:
		out.Kind = Unavailable
	default:
		out.Kind = grantCodes[out.Code]
	}
	if out.Kind == "" {
		out.Kind = Unavailable
	}
	if out.Kind == RateLimited || out.Kind == Unavailable {
		out.RetryAfter = p.retry.wait(header, body, now)
	}
	return out
}

var codeForm = regexp.MustCompile(`^([A-Za-z]{1,24}([_.-][A-Za-z]{1,24}){0,7}|[0-9]{1,8})$`)

// code is the provider's error code, when it has the form of one, words or a short number: it is shown, and a server that echoes a
// token as its error must not get it shown.
func code(tree any) string {
	for _, pointer := range []string{"/error", "/error/code", "/code", "/errorCode", "/status"} {
		text, ok := textAt(tree, pointer)
		if ok && codeForm.MatchString(text) {
			return text
		}
	}
	return ""
}

// instant reads when something ends.
func (r responseRules) instant(tree any, pointer string, now time.Time) time.Time {
	v, ok := at(tree, pointer)
	if !ok {
		return time.Time{}
	}
	text := ""
	switch x := v.(type) {
	case string:
		text = x
	case json.Number:
		text = x.String()
	}
	if r.ExpiresUnit == "rfc3339" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return time.Time{}
		}
		return t
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n <= 0 || n > 1e13 { // 0 is what some providers say of a token that does not expire
		return time.Time{}
	}
	switch r.ExpiresUnit {
	case "milliseconds":
		n /= 1000
	case "epoch_seconds":
		return time.Unix(int64(n), 0)
	}
	return now.Add(time.Duration(min(n, maxGrantLife.Seconds())) * time.Second)
}

// scopeList reads scopes: one text, or a list.
func scopeList(v any, separator string) []string {
	var out []string
	switch x := v.(type) {
	case string:
		out = strings.FieldsFunc(x, func(r rune) bool { return r == ' ' || string(r) == separator })
	case []any:
		for _, item := range x {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
	default:
		return nil
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), 200)]
}

// label is what the user calls the account, in one line of ordinary text.
func label(tree any, pointer string) string {
	if pointer == "" {
		return ""
	}
	text, _ := textAt(tree, pointer)
	return cut(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return control(r) }), " "), 120)
}

// textAt is a text or a number at a place.
func textAt(tree any, pointer string) (string, bool) {
	v, ok := at(tree, pointer)
	if !ok || pointer == "" {
		return "", false
	}
	switch x := v.(type) {
	case string:
		return x, true
	case json.Number:
		return x.String(), true
	}
	return "", false
}
