package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

// The limits of a document.
const (
	maxIssuers   = 64
	maxAgents    = 10_000
	maxResources = 1_000
	maxText      = 256 // bytes of any one-line text
	maxURL       = 2048
	maxResource  = 512 // bytes of a URI that is to be an aud
	maxDepth     = 10
	maxLife      = time.Hour
)

// Problem is one thing wrong with a document: where, and what to do about it.
type Problem struct {
	Path    string // agents/researcher/scopes; empty for the document as a whole
	Message string
}

// InvalidError is everything wrong with a document, in the document's order.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Message
		if p.Path != "" {
			lines[i] = p.Path + ": " + p.Message
		}
	}
	return strings.Join(lines, "\n")
}

// Validate finds everything wrong with a document that can be found without the operator's own policies and the other
// orgs: an *InvalidError.
func (d Document) Validate() error {
	v := &validator{doc: d, scopes: map[string]bool{}, names: map[string]bool{}, agents: map[string]bool{}}
	for _, a := range d.Agents {
		v.names[a.Name] = true
	}
	v.head()
	v.providers()
	for i, issuer := range d.Issuers {
		v.issuer(i, issuer)
	}
	for i, agent := range d.Agents {
		v.agent(i, agent)
	}
	for i, resource := range d.Resources {
		v.resource(i, resource)
	}
	if len(v.problems) == 0 { // a schema made of broken names would only say the same again, less clearly
		_, err := policy.Compile(d.bundle("0", nil))
		v.compiled(err)
	}
	if len(v.problems) > 0 {
		return &InvalidError{v.problems}
	}
	return nil
}

type validator struct {
	doc      Document
	scopes   map[string]bool // of all providers
	names    map[string]bool // of all agents
	agents   map[string]bool // seen so far
	problems []Problem
}

// maxProblems keeps an answer readable.
const maxProblems = 200

func (v *validator) add(path, format string, args ...any) {
	if len(v.problems) == maxProblems {
		return
	}
	v.problems = append(v.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (v *validator) require(ok bool, path, format string, args ...any) {
	if !ok {
		v.add(path, format, args...)
	}
}

func (v *validator) head() {
	d := v.doc
	if _, err := delegation.ParseOrgID(string(d.Org)); err != nil {
		v.add("org", "must be 1 to 63 of a-z, 0-9 and hyphen, without a hyphen at either end")
	}
	v.require(d.Limits.MaxDepth >= 0 && d.Limits.MaxDepth <= maxDepth, "limits/max_depth",
		"must be 1 to %d, or 0 for the operator's", maxDepth)
	life := time.Duration(d.Limits.MaxLife)
	v.require(life == 0 || life >= time.Second && life <= maxLife, "limits/max_life",
		"must be 1s to %s, or absent for the operator's", maxLife)
	v.require(len(d.Issuers) <= maxIssuers, "issuers", "has %d entries; at most %d", len(d.Issuers), maxIssuers)
	v.require(len(d.Agents) <= maxAgents, "agents", "has %d entries; at most %d", len(d.Agents), maxAgents)
	v.require(len(d.Resources) <= maxResources, "resources", "has %d entries; at most %d", len(d.Resources), maxResources)
}

func (v *validator) providers() {
	for i, p := range v.doc.Providers {
		path := "providers/" + label(p.Name, i)
		for _, s := range p.Scopes {
			if _, err := delegation.NewScopes(s); err != nil {
				v.add(path+"/scopes", "%q is not a scope (RFC 6749 section 3.3)", clip(s))
			}
			v.require(!v.scopes[s], path+"/scopes", "%q is declared twice; a scope belongs to one provider", clip(s))
			v.scopes[s] = true
		}
	}
}

func (v *validator) issuer(i int, is Issuer) {
	path := "issuers/" + label(is.Name, i)
	v.require(isLabel(is.Name), path+"/name", "must be 1 to 63 of a-z, 0-9 and hyphen")
	for _, before := range v.doc.Issuers[:min(i, maxIssuers)] {
		v.require(before.Name != is.Name, path+"/name", "is used twice")
		v.require(before.URL != is.URL, path+"/url", "is registered twice: iss could not say which entry is meant")
	}
	v.url(path+"/url", is.URL)
	v.require(len(is.Audiences) >= 1 && len(is.Audiences) <= 16, path+"/audiences",
		"must list 1 to 16 client ids: without one, a token made for any client of the issuer would do")
	for _, a := range is.Audiences {
		v.require(isText(a), path+"/audiences", "%q must be 1 to %d printable characters", clip(a), maxText)
	}
	for _, a := range is.Algorithms {
		v.require(slices.Contains(subjectAlgorithms, jose.Algorithm(a)), path+"/algorithms",
			"%q is not one of RS256, PS256, ES256, EdDSA", clip(a))
	}
	for _, t := range is.TokenTypes {
		v.require(t == TokenTypeID || t == TokenTypeJWT, path+"/token_types", "%q is not one of id_token, jwt", clip(t))
	}
	v.require((is.OrgClaim == "") == (is.OrgValue == ""), path+"/org_claim", "org_claim and org_value come together")
	for name, claim := range map[string]string{"org_claim": is.OrgClaim, "groups_claim": is.GroupsClaim} {
		v.require(claim == "" || isText(claim), path+"/"+name, "must be at most %d printable characters", maxText)
		v.require(!slices.Contains(standardClaims, claim), path+"/"+name, "%q is a registered claim with a meaning of its own", claim)
	}
	v.require(is.OrgValue == "" || isText(is.OrgValue), path+"/org_value", "must be at most %d printable characters", maxText)
}

// standardClaims mean something else than an org or groups.
var standardClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "act", "may_act", "azp",
	"nonce", "acr", "amr", "auth_time", "sid", "scope", "cnf",
}

// url wants https, or http on this machine: discovery over plain HTTP would let anybody on the way name the keys.
func (v *validator) url(path, raw string) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(raw, "?#") || len(raw) > maxURL {
		v.add(path, "must be an absolute URL without user, query and fragment")
		return
	}
	v.require(u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()), path, "must be https (http only on loopback)")
}

func (v *validator) agent(i int, a Agent) {
	path := "agents/" + label(a.Name, i)
	v.require(isLabel(a.Name), path+"/name", "must be 1 to 63 of a-z, 0-9 and hyphen")
	v.require(!v.agents[a.Name], path+"/name", "is used twice")
	v.agents[a.Name] = true
	v.require(a.Owner == "" || isText(a.Owner), path+"/owner", "must be at most %d printable characters", maxText)
	v.require(len(a.Groups) <= 64, path+"/groups", "has %d entries; at most 64", len(a.Groups))
	for _, g := range a.Groups {
		v.require(isText(g) && !strings.ContainsAny(g, `/"\ `), path+"/groups",
			"%q must be 1 to %d printable characters without slash, quote, backslash and space", clip(g), maxText)
	}
	if _, err := delegation.NewScopes(a.Scopes...); err != nil {
		v.add(path+"/scopes", "must be at most 100 scopes of at most 128 characters (RFC 6749 section 3.3)")
	}
	for _, s := range a.Scopes {
		v.require(v.scopes[s], path+"/scopes", "%q is not a scope of any provider of this document", clip(s))
	}
	for _, c := range a.Controllers {
		v.require(v.names[c] && c != a.Name, path+"/controllers", "%q must be another agent of this document", clip(c))
	}
	v.jwks(path+"/jwks", a.JWKS)
}

// jwks wants every key to be of use: a key that is passed over in silence (private, symmetric, weak) would be found out only
// when the agent cannot log in.
func (v *validator) jwks(path string, data []byte) {
	if len(data) == 0 {
		return
	}
	var listed struct {
		Keys []any `json:"keys"`
	}
	set, err := jose.ParseKeySet(data)
	if err == nil {
		err = jose.Decode(data, &listed)
	}
	if err != nil || len(listed.Keys) > 16 {
		v.add(path, `must be a JWK set, {"keys":[...]}, of at most 16 keys (RFC 7517)`)
		return
	}
	v.require(len(set.Keys()) == len(listed.Keys), path,
		"%d of %d keys cannot be used: each must be public, for signatures, P-256, Ed25519 or RSA of at least 2048 bits",
		len(listed.Keys)-len(set.Keys()), len(listed.Keys))
	seen := map[string]bool{}
	for _, k := range set.Keys() {
		v.require(!seen[k.KeyID()], path, "kid %q is used twice", clip(k.KeyID()))
		seen[k.KeyID()] = true
	}
}

func (v *validator) resource(i int, r Resource) {
	path := "resources/" + label(r.Name, i)
	uri, ok := NormalURI(r.URI)
	v.require(ok && uri == r.URI && !strings.HasSuffix(uri, "/"), path+"/uri",
		"must be an absolute URI with lower-case scheme and host, without user, fragment and trailing slash")
	v.require(r.Name == "" || isText(r.Name) && !strings.ContainsAny(r.Name, `"\ `), path+"/name",
		"must be at most %d printable characters without space", maxText)
	v.require(len(r.URI) <= maxResource, path+"/uri", "must be at most %d characters", maxResource)
	for _, before := range v.doc.Resources[:min(i, maxResources)] {
		v.require(before.URI != r.URI, path+"/uri", "is registered twice")
		v.require(r.Name == "" || before.Name != r.Name, path+"/name", "is used twice")
	}
}

func (v *validator) compiled(err error) {
	var invalid *policy.InvalidError
	switch {
	case err == nil:
	case errors.As(err, &invalid):
		v.problems = append(v.problems, PolicyProblems(invalid)...)
	default:
		v.add("policies", "%v", err)
	}
}

// PolicyProblems are a policy set's problems as problems of a document.
func PolicyProblems(e *policy.InvalidError) []Problem {
	out := make([]Problem, len(e.Problems))
	for i, p := range e.Problems {
		out[i] = Problem{Path: "policies", Message: p.String()}
	}
	return out
}

// NormalURI is a resource identifier as it is compared: scheme and host in lower case, everything else as it came (RI5). ok
// is false for what is no absolute URI without fragment and user (RFC 8707 §2).
func NormalURI(raw string) (uri string, ok bool) {
	scheme, rest, found := strings.Cut(raw, ":")
	if !found || len(raw) > maxURL || strings.ContainsAny(raw, "#\"\\ ") || !isPrintable(raw) {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || !u.IsAbs() || u.User != nil || (u.Host == "" && u.Opaque == "") {
		return "", false
	}
	if !strings.HasPrefix(rest, "//") {
		return strings.ToLower(scheme) + ":" + rest, true
	}
	end := strings.IndexAny(rest[2:], "/?")
	if end < 0 {
		return strings.ToLower(raw), true
	}
	return strings.ToLower(scheme+":"+rest[:2+end]) + rest[2+end:], true
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func isLabel(s string) bool { _, err := delegation.ParseOrgID(s); return err == nil }

func isText(s string) bool { return s != "" && len(s) <= maxText && isPrintable(s) }

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// label names an entry of a list in a path: by its name when it has a decent one, else by its place.
func label(name string, i int) string {
	if isText(name) {
		return clip(name)
	}
	return fmt.Sprint(i)
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
