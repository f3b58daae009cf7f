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
	maxIssuers       = 64
	maxAgents        = 10_000
	maxResources     = 1_000
	maxText          = 256 // bytes of any one-line text
	maxURL           = 2048
	maxResource      = 512 // bytes of a URI that is to be an aud
	maxDepth         = 10
	maxLife          = time.Hour
	maxIntrospectors = 64
	maxRate          = 100_000 // requests a second
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
	v := &validator{
		doc: d, scopes: map[string]bool{}, names: map[string]bool{}, agents: map[string]bool{}, spiffeIDs: map[string]bool{},
	}
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
	v.trust()
	v.administrators()
	v.streams()
	v.directory()
	v.services()
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
	doc       Document
	scopes    map[string]bool // of all providers
	names     map[string]bool // of all agents
	agents    map[string]bool // seen so far
	spiffeIDs map[string]bool // of them
	problems  []Problem
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
	v.require(d.Profile == "" || d.Profile == ProfileFAPI, "profile",
		"%q is not a profile: leave it out, or write fapi", clip(d.Profile))
	if alg := jose.Algorithm(d.SigningAlgorithm); alg != "" {
		v.require(slices.Contains(subjectAlgorithms, alg), "signing_algorithm", "%q is unknown: ES256, EdDSA, PS256 or RS256", clip(string(alg)))
		v.require(d.Profile != ProfileFAPI || alg != jose.RS256, "signing_algorithm",
			"the profile fapi has no RS256: use PS256, ES256 or EdDSA") // FA6
	}
	v.rate("limits/rate", d.Limits.Rate)
	v.rate("limits/agent_rate", d.Limits.AgentRate)
	v.require(len(d.Issuers) <= maxIssuers, "issuers", "has %d entries; at most %d", len(d.Issuers), maxIssuers)
	v.require(len(d.Agents) <= maxAgents, "agents", "has %d entries; at most %d", len(d.Agents), maxAgents)
	v.require(len(d.Resources) <= maxResources, "resources", "has %d entries; at most %d", len(d.Resources), maxResources)
}

func (v *validator) rate(path string, perSecond int) {
	v.require(perSecond >= 0 && perSecond <= maxRate, path, "must be 1 to %d requests a second, or 0 for the operator's", maxRate)
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
	v.require(is.Name != serviceIssuer, path+"/name", "%q is reserved: policy knows service accounts by it", serviceIssuer)
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
	v.algorithms(path, is.Algorithms)
	for _, t := range is.TokenTypes {
		v.require(slices.Contains(tokenTypes, t), path+"/token_types", "%q is not one of %s", clip(t), strings.Join(tokenTypes, ", "))
	}
	v.require((is.OrgClaim == "") == (is.OrgValue == ""), path+"/org_claim", "org_claim and org_value come together")
	v.meaningful(path+"/groups_claim", is.GroupsClaim)
	v.meaningful(path+"/org_claim", is.OrgClaim)
	v.subjectClaim(path, is)
	v.require(is.OrgValue == "" || isText(is.OrgValue), path+"/org_value", "must be at most %d printable characters", maxText)
}

// meaningful wants a claim that means nothing else.
func (v *validator) meaningful(path, claim string) {
	v.require(claim == "" || isText(claim), path, "must be at most %d printable characters", maxText)
	v.require(!slices.Contains(standardClaims, claim), path, "%q is a registered claim with a meaning of its own", claim)
}

// tokenTypes are what an issuer can be registered for.
var tokenTypes = []string{TokenTypeID, TokenTypeJWT, TokenTypeAssertion, TokenTypeIDJAG}

// serviceIssuer stands in the ids of service accounts where users have the issuer's name.
const serviceIssuer = "service"

func (v *validator) algorithms(path string, listed []string) {
	for _, a := range listed {
		v.require(slices.Contains(subjectAlgorithms, jose.Algorithm(a)), path+"/algorithms",
			"%q is not one of RS256, PS256, ES256, EdDSA", clip(a))
		v.require(v.doc.Profile != ProfileFAPI || a != string(jose.RS256), path+"/algorithms",
			"the profile fapi has no RS256: let the issuer sign with PS256, ES256 or EdDSA, and list those")
	}
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

func (v *validator) resource(i int, r Resource) {
	path := "resources/" + label(r.Name, i)
	uri, ok := NormalURI(r.URI)
	v.require(ok && uri == r.URI && !strings.HasSuffix(uri, "/"), path+"/uri",
		"must be an absolute URI with lower-case scheme and host, without user, fragment and trailing slash")
	v.require(r.Name == "" || isText(r.Name) && !strings.ContainsAny(r.Name, `"\ `), path+"/name",
		"must be at most %d printable characters without space", maxText)
	v.require(len(r.URI) <= maxResource, path+"/uri", "must be at most %d characters", maxResource)
	v.require(len(r.Introspectors) <= maxIntrospectors, path+"/introspectors",
		"has %d entries; at most %d", len(r.Introspectors), maxIntrospectors)
	for _, a := range r.Introspectors {
		v.require(v.names[a], path+"/introspectors", "%q must be an agent of this document: the resource server's own client", clip(a))
	}
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
