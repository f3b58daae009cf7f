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
	maxDocument    = 16 << 10
)

// reserved are the headers that a record may not set: they belong to the credential, the connection or the encoding.
var reserved = []string{
	"Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Expect", "Forwarded",
	"Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Via",
}

// provider checks a record and compiles it. What is wrong is added to p; the result is for use only when nothing was.
func (r record) provider(p *problems) *Provider {
	out := &Provider{name: r.Name, title: cmp.Or(r.Title, r.Name), description: r.Description, auth: r.Auth, probe: r.Probe}
	if !providerName.MatchString(r.Name) {
		p.add("name", "must be a letter and up to 31 of [a-z0-9_-]")
	}
	if len(r.Description) > maxText {
		p.add("description", "longer than %d bytes", maxText)
	}
	out.about = about{docs: r.Docs, registration: r.Registration, unverified: r.Unverified, scopes: r.Scopes}
	out.settings = r.buildSettings(p)
	r.place(out, p)
	for pattern, a := range r.Auth {
		a.check("auth/"+string(pattern), pattern, p)
	}
	if len(r.Auth) == 0 {
		p.add("auth", "needs at least one of developer_secret, oauth, api_key, basic, service_account")
	}
	out.headers = http.Header{}
	for name, value := range r.Headers {
		if !headerName(name) || !fieldValue(value) || strings.ContainsAny(value, "{}") {
			p.add("headers/"+name, "must be a header that a record may set, with printable ASCII and no holes")
		}
		out.headers.Set(name, value)
	}
	out.scopes, out.described = slices.Sorted(maps.Keys(r.Scopes)), r.Scopes
	if s, err := delegation.NewScopes(out.scopes...); err != nil || s.Len() != len(out.scopes) {
		p.add("scopes", "are no scopes (RFC 6749 section 3.3)")
	}
	for _, s := range out.scopes {
		if !strings.HasPrefix(s, r.Name+":") {
			p.add("scopes/"+s, "must begin with %q, so that no other provider's scope is meant", r.Name+":")
		}
	}
	r.buildGrants(out, p)
	out.answers = answerRules("answers", r.Answers, recordKinds, p)
	out.retry = r.RetryAfter.rule(p)
	var err error
	if out.timeout, err = duration(r.Timeout, defaultTimeout, maxTimeout); err != nil {
		p.add("timeout", "%v", err)
	}
	out.perUser.Calls = cmp.Or(r.PerUser.Calls, 60)
	if out.perUser.Per, err = duration(r.PerUser.Per, time.Minute, 24*time.Hour); err != nil || out.perUser.Calls < 1 {
		p.add("per_user", "needs calls of at least 1, and per of at most 24h")
	}
	r.buildTools(out, p)
	return out
}

// place checks where the provider is. A base with holes is checked when they are filled (At).
func (r record) place(out *Provider, p *problems) {
	var err error
	if out.baseText, err = parseTemplate(r.BaseURL); err != nil {
		p.add("base_url", "%v", err)
		return
	}
	for _, h := range r.Hosts {
		if _, err := netip.ParseAddr(h); err != nil && (strings.Trim(h, ".") == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "*/ :@{}")) {
			p.add("hosts", "must be lower-case host names, without port or wildcard; one that begins with a dot is every host below it")
		}
	}
	out.hosts = r.Hosts
	if len(out.baseText.holes) > 0 {
		out.knows("base_url", out.baseText, p)
		if len(r.Hosts) == 0 && !out.clientSays(out.baseText) {
			p.add("hosts", "must say where the holes of base_url may lead")
		}
		return
	}
	u, why := baseURL(r.BaseURL)
	if why != "" {
		p.add("base_url", "%s", why)
		return
	}
	out.base = u
	if len(out.hosts) == 0 {
		out.hosts = []string{u.Hostname()}
	}
	if !out.mayCall(u.Hostname()) {
		p.add("hosts", "must hold the host of base_url")
	}
}

// baseURL reads a base without holes, or says what is wrong with it.
func baseURL(text string) (*url.URL, string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, "must be https://host[:port][/path]"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, "must have no user, query or fragment"
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, "must be https (http is for loopback in development)"
	case dotSegment(u.Path):
		return nil, "must have no dot segments"
	}
	return u, ""
}

// mayCall reports whether a host is one of the record's.
func (p *Provider) mayCall(host string) bool {
	host = strings.ToLower(host)
	return slices.ContainsFunc(p.hosts, func(h string) bool {
		return h == host || strings.HasPrefix(h, ".") && strings.HasSuffix(host, h)
	})
}

func (a authRecord) check(place string, pattern Pattern, p *problems) {
	if !slices.Contains([]Pattern{DeveloperSecret, OAuth, APIKey, Basic, ServiceAccount}, pattern) {
		p.add(place, "must be developer_secret, oauth, api_key, basic or service_account")
	}
	if (a.Style == "basic") != (pattern == Basic) && pattern == Basic {
		p.add(place, "pattern basic has style basic")
	}
	set := map[string]bool{
		"header": a.Header != "", "template": a.Template != "", "query": a.Query != "", "reason": a.Reason != "", "username": a.Username != "",
	}
	var allowed []string
	switch a.Style {
	case "bearer":
	case "basic":
		allowed = []string{"username"}
		if u := cmp.Or(a.Username, "{username}"); strings.Count(u, "{username}") != 1 || strings.Count(u, "{") != 1 || !fieldValue(u) || strings.Contains(u, ":") {
			p.add(place+"/username", "must be printable ASCII with {username} in it once, and no colon (RFC 7617)")
		}
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
	settings   map[string]setting
}

// declare reads the top of the arguments schema. Only a closed object will do: policy judges what it can see.
func (r toolRecord) declare(place string, settings map[string]setting, p *problems) declared {
	tree, _ := jsonValue(r.Arguments) // compileSchema has taken it already
	top, _ := tree.(map[string]any)
	d := declared{used: map[string]bool{}, settings: settings}
	d.properties, _ = top["properties"].(map[string]any)
	d.required, _ = top["required"].([]any)
	if top["type"] != "object" || top["additionalProperties"] != false {
		p.add(place+"/arguments", "must have type object and additionalProperties false: policy judges what it can see")
	}
	for name := range d.properties {
		if !argumentName.MatchString(name) {
			p.add(place+"/arguments/"+name, "is no argument name ([A-Za-z_][A-Za-z0-9_]*)")
		}
		if _, both := settings[name]; both { // an argument could say what a connection's setting says
			p.add(place+"/arguments/"+name, "is a setting's name too")
		}
	}
	return d
}

// placed are the holes of a template that an argument fills: not those of settings.
func (d declared) placed(t template) []string {
	return slices.DeleteFunc(slices.Clone(t.holes), func(h string) bool { _, ok := d.settings[h]; return ok })
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
	args := r.declare(place, out.provider.settings, p)
	var err error
	if out.path, err = parseTemplate(r.Path); err != nil || !plainPath(r.Path) {
		p.add(place+"/path", "must begin with / and be a plain path with holes such as {owner}")
	}
	args.use(place+"/path", args.placed(out.path), p)
	for _, h := range args.placed(out.path) {
		if !slices.Contains(args.required, any(h)) {
			p.add(place+"/path", "{%s} must be a required argument", h)
		}
	}
	if out.query, err = members(r.Query); err != nil {
		p.add(place+"/query", "%v", err)
	}
	for i, m := range out.query {
		args.use(place+"/query/"+m.name, args.placed(m.template), p)
		for j, literal := range m.literals {
			out.query[i].literals[j] = escape(literal)
		}
	}
	if out.headers, err = members(r.Headers); err != nil {
		p.add(place+"/headers", "%v", err)
	}
	for _, m := range out.headers {
		args.use(place+"/headers/"+m.name, args.placed(m.template), p)
		if !headerName(m.name) || !fieldValue(strings.Join(m.literals, "")) {
			p.add(place+"/headers/"+m.name, "must be a header that a record may set, in printable ASCII")
		}
	}
	r.buildBody(place, out, func(h string) { args.use(place+"/body", []string{h}, p) }, p)
	if r.GraphQL != "" {
		r.buildGraphQL(place, out, p)
	}
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
	form := r.Encoding == "form"
	if r.Encoding != "" && r.Encoding != "json" && !form || form && (r.Body == nil || r.GraphQL != "") {
		p.add(place+"/encoding", "must be json, or form with a body that is no GraphQL")
	}
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
	if out.form = form; !form {
		return
	}
	flat, object := out.body.(map[string]any)
	for name, v := range flat {
		if _, plain := v.(template); !plain {
			p.add(place+"/body/"+name, "must be a text, quoted: a form has nothing else")
		}
	}
	if !object {
		p.add(place+"/body", "must be an object for encoding form")
	}
}

// buildGraphQL makes what was built of the body the variables of a document.
func (r toolRecord) buildGraphQL(place string, out *Tool, p *problems) {
	_, object := r.Body.(map[string]any)
	if r.Method != http.MethodPost || len(r.GraphQL) > maxDocument || r.Body != nil && !object {
		p.add(place+"/graphql", "goes with POST, has at most %d bytes, and its body is an object of variables", maxDocument)
	}
	sent := map[string]any{"query": template{literals: []string{r.GraphQL}}}
	if out.body != nil {
		sent["variables"] = out.body
	}
	out.body = sent
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
