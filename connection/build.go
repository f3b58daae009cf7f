package connection

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
)

const (
	defaultTimeout = 15 * time.Second
	maxTimeout     = 60 * time.Second
	maxTools       = 500
	maxText        = 4 << 10
)

// reserved are the headers that a record may not set: they belong to the credential, the connection or the encoding.
var reserved = []string{
	"Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Expect", "Forwarded",
	"Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Via",
}

// provider checks a record and compiles it. What is wrong is added to p; the result is for use only when nothing was.
func (r record) provider(p *problems) *Provider {
	out := &Provider{name: r.Name, description: r.Description, auth: r.Auth}
	if !providerName.MatchString(r.Name) {
		p.add("name", "must be a letter and up to 31 of [a-z0-9_-]")
	}
	if len(r.Description) > maxText {
		p.add("description", "longer than %d bytes", maxText)
	}
	r.place(out, p)
	for pattern, a := range r.Auth {
		a.check("auth/"+string(pattern), pattern, p)
	}
	if len(r.Auth) == 0 {
		p.add("auth", "needs at least one of developer_secret, api_key, basic")
	}
	out.headers = http.Header{}
	for name, value := range r.Headers {
		if !headerName(name) || !fieldValue(value) || strings.ContainsAny(value, "{}") {
			p.add("headers/"+name, "must be a header that a record may set, with printable ASCII and no holes")
		}
		out.headers.Set(name, value)
	}
	out.scopes = slices.Sorted(maps.Keys(r.Scopes))
	if s, err := delegation.NewScopes(out.scopes...); err != nil || s.Len() != len(out.scopes) {
		p.add("scopes", "are no scopes (RFC 6749 section 3.3)")
	}
	for _, s := range out.scopes {
		if !strings.HasPrefix(s, r.Name+":") {
			p.add("scopes/"+s, "must begin with %q, so that no other provider's scope is meant", r.Name+":")
		}
	}
	out.answers = r.answerRules(p)
	out.retry = r.RetryAfter.rule(p)
	var err error
	if out.timeout, err = duration(r.Timeout, defaultTimeout, maxTimeout); err != nil {
		p.add("timeout", "%v", err)
	}
	r.buildTools(out, p)
	return out
}

// place checks where the provider is.
func (r record) place(out *Provider, p *problems) {
	u, err := url.Parse(r.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		p.add("base_url", "must be https://host[:port][/path]")
		u = &url.URL{Scheme: "https", Host: "invalid.invalid"}
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		p.add("base_url", "must have no user, query or fragment")
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme != "https":
		p.add("base_url", "must be https (http is for loopback in development)")
	case strings.ContainsAny(r.BaseURL, "{}"):
		p.add("base_url", "has no holes: a call must not choose its host")
	}
	if dotSegment(u.Path) {
		p.add("base_url", "must have no dot segments")
	}
	out.base = u
	out.hosts = r.Hosts
	if len(out.hosts) == 0 {
		out.hosts = []string{u.Hostname()}
	}
	for _, h := range out.hosts {
		if _, err := netip.ParseAddr(h); err != nil && (h == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "*/ :@")) {
			p.add("hosts", "must be whole lower-case host names, without port or wildcard")
		}
	}
	if !slices.Contains(out.hosts, strings.ToLower(u.Hostname())) {
		p.add("hosts", "must hold the host of base_url")
	}
}

func (a authRecord) check(place string, pattern Pattern, p *problems) {
	if pattern != DeveloperSecret && pattern != APIKey && pattern != Basic {
		p.add(place, "must be developer_secret, api_key or basic")
	}
	if (a.Style == "basic") != (pattern == Basic) && pattern == Basic {
		p.add(place, "pattern basic has style basic")
	}
	set := map[string]bool{"header": a.Header != "", "template": a.Template != "", "query": a.Query != "", "reason": a.Reason != ""}
	var allowed []string
	switch a.Style {
	case "bearer", "basic":
	case "header":
		allowed = []string{"header", "template"}
		if !token(a.Header) || (!headerName(a.Header) && !strings.EqualFold(a.Header, "Authorization")) {
			p.add(place+"/header", "must name a header that a credential may travel in")
		}
		if t := cmp.Or(a.Template, "{secret}"); strings.Count(t, "{secret}") != 1 || strings.Count(t, "{") != 1 || !fieldValue(t) {
			p.add(place+"/template", "must be printable ASCII with {secret} in it once")
		}
	case "query":
		allowed = []string{"query", "reason"}
		if a.Query == "" || escape(a.Query) != a.Query {
			p.add(place+"/query", "must name a parameter")
		}
		if strings.TrimSpace(a.Reason) == "" {
			p.add(place+"/reason", "must say why a credential has to travel in a URL, where logs see it; better use a header")
		}
	default:
		p.add(place+"/style", "must be bearer, basic, header or query")
	}
	for name, present := range set {
		if present && !slices.Contains(allowed, name) {
			p.add(place+"/"+name, "does not belong to style %q", a.Style)
		}
	}
}

func (r record) buildTools(out *Provider, p *problems) {
	if len(r.Tools) == 0 || len(r.Tools) > maxTools {
		p.add("tools", "needs 1 to %d", maxTools)
	}
	seen := map[string]bool{}
	for i, t := range r.Tools[:min(len(r.Tools), maxTools)] {
		place := "tools/" + cmp.Or(t.Name, fmt.Sprint(i))
		if seen[t.Name] {
			p.add(place, "is there twice")
		}
		seen[t.Name] = true
		out.tools = append(out.tools, t.tool(place, out, p))
	}
	slices.SortFunc(out.tools, func(a, b Tool) int { return strings.Compare(a.name, b.name) })
	for _, t := range out.tools { // one action cannot be both in Cedar
		if slices.ContainsFunc(out.tools, func(o Tool) bool { return slices.Contains(o.groups, t.name) }) {
			p.add("tools/"+t.name, "is also the name of a group; call the operation otherwise")
		}
	}
}

// tool checks one operation and compiles it.
func (r toolRecord) tool(place string, provider *Provider, p *problems) Tool {
	out := Tool{
		provider: provider, name: provider.name + "." + r.Name, description: r.Description, method: r.Method,
		result: r.Result, risk: r.Risk, idempotency: r.Idempotency, scopes: slices.Sorted(slices.Values(r.Scopes)),
	}
	if !operationName.MatchString(r.Name) {
		p.add(place+"/name", "must be a letter and up to 63 of [a-z0-9_]")
	}
	if r.Description == "" || len(r.Description) > maxText {
		p.add(place+"/description", "needs 1 to %d bytes: it is all that a model knows of the tool", maxText)
	}
	r.checkMeaning(place, provider, p)
	for _, g := range append([]string{string(r.Risk)}, r.Groups...) {
		if name := provider.name + "." + g; !operationName.MatchString(g) {
			p.add(place+"/groups", "must be a letter and up to 63 of [a-z0-9_]")
		} else if !slices.Contains(out.groups, name) {
			out.groups = append(out.groups, name)
		}
	}
	var err error
	if out.input, err = compileSchema(r.Arguments); err != nil {
		p.add(place+"/arguments", "%v", err)
		return out
	}
	if r.Result.Schema != nil {
		if out.output, err = compileSchema(r.Result.Schema); err != nil {
			p.add(place+"/result/schema", "%v", err)
		}
	}
	r.checkResult(place, p)
	r.buildRequest(place, &out, p)
	return out
}

// checkMeaning checks method, risk and scopes against each other.
func (r toolRecord) checkMeaning(place string, provider *Provider, p *problems) {
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, r.Method) {
		p.add(place+"/method", "must be GET, HEAD, POST, PUT, PATCH or DELETE")
	}
	if !slices.Contains([]Risk{Read, Write, Destructive}, r.Risk) {
		p.add(place+"/risk", "must be read, write or destructive")
	}
	if r.Method == http.MethodDelete && r.Risk == Read {
		p.add(place+"/risk", "cannot be read with DELETE")
	}
	if len(r.Scopes) == 0 {
		p.add(place+"/scopes", "needs at least one: a tool that any token may call is nobody's decision")
	}
	for _, s := range r.Scopes {
		if !slices.Contains(provider.scopes, s) {
			p.add(place+"/scopes", "%q is not among the provider's scopes", s)
		}
	}
	if r.Idempotency != "" && !headerName(r.Idempotency) {
		p.add(place+"/idempotency_header", "must name a header that a record may set")
	}
}

func (r toolRecord) checkResult(place string, p *problems) {
	if !validPointer(r.Result.At) {
		p.add(place+"/result/at", "must be a JSON Pointer, such as /items")
	}
	for name, pointer := range r.Result.Fields {
		if !validPointer(pointer) {
			p.add(place+"/result/fields/"+name, "must be a JSON Pointer, such as /owner/login")
		}
	}
}

// declared is what a tool's arguments schema says at its top.
type declared struct {
	properties map[string]any
	required   []any
	used       map[string]bool
}

// declare reads the top of the arguments schema. Only a closed object will do: policy judges what it can see.
func (r toolRecord) declare(place string, p *problems) declared {
	tree, _ := jsonValue(r.Arguments) // compileSchema has taken it already
	top, _ := tree.(map[string]any)
	d := declared{used: map[string]bool{}}
	d.properties, _ = top["properties"].(map[string]any)
	d.required, _ = top["required"].([]any)
	if top["type"] != "object" || top["additionalProperties"] != false {
		p.add(place+"/arguments", "must have type object and additionalProperties false: policy judges what it can see")
	}
	for name := range d.properties {
		if !argumentName.MatchString(name) {
			p.add(place+"/arguments/"+name, "is no argument name ([A-Za-z_][A-Za-z0-9_]*)")
		}
	}
	return d
}

// use notes the holes of a template.
func (d declared) use(place string, holes []string, p *problems) {
	for _, h := range holes {
		d.used[h] = true
		if d.properties[h] == nil {
			p.add(place, "{%s} is no argument", h)
		}
	}
}

// buildRequest compiles the templates, and checks that every argument has its place and every hole its argument.
func (r toolRecord) buildRequest(place string, out *Tool, p *problems) {
	args := r.declare(place, p)
	var err error
	if out.path, err = parseTemplate(r.Path); err != nil || !plainPath(r.Path) {
		p.add(place+"/path", "must begin with / and be a plain path with holes such as {owner}")
	}
	args.use(place+"/path", out.path.holes, p)
	for _, h := range out.path.holes {
		if !slices.Contains(args.required, any(h)) {
			p.add(place+"/path", "{%s} must be a required argument", h)
		}
	}
	if out.query, err = members(r.Query); err != nil {
		p.add(place+"/query", "%v", err)
	}
	for i, m := range out.query {
		args.use(place+"/query/"+m.name, m.holes, p)
		for j, literal := range m.literals {
			out.query[i].literals[j] = escape(literal)
		}
	}
	if out.headers, err = members(r.Headers); err != nil {
		p.add(place+"/headers", "%v", err)
	}
	for _, m := range out.headers {
		args.use(place+"/headers/"+m.name, m.holes, p)
		if !headerName(m.name) || !fieldValue(strings.Join(m.literals, "")) {
			p.add(place+"/headers/"+m.name, "must be a header that a record may set, in printable ASCII")
		}
	}
	r.buildBody(place, out, func(h string) { args.use(place+"/body", []string{h}, p) }, p)
	for name := range args.properties {
		if !args.used[name] {
			p.add(place+"/arguments/"+name, "is used nowhere: remove it, or put {%s} where it goes", name)
		}
	}
}

func plainPath(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsAny(path, "?#%\\;") && !strings.Contains(path, "//") &&
		!dotSegment(path) && fieldValue(path) && !strings.Contains(path, " ")
}

func (r toolRecord) buildBody(place string, out *Tool, use func(hole string), p *problems) {
	if r.Body == nil {
		return
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		p.add(place+"/body", "does not go with %s", r.Method)
	}
	tree, err := jsonValue(r.Body)
	if err != nil {
		p.add(place+"/body", "%v", err)
		return
	}
	if out.body, err = parseBody(tree, use); err != nil {
		p.add(place+"/body", "%v", err)
	}
}

// headerName reports whether a record may set a header.
func headerName(name string) bool {
	return token(name) && !slices.Contains(reserved, http.CanonicalHeaderKey(name))
}

const tokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"

// token is RFC 9110 section 5.6.2.
func token(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, tokenCharacters) == ""
}

func dotSegment(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." })
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
