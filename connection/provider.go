package connection

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/policy"
)

// Names: safe in URLs, logs, Cedar and YAML alike.
var (
	providerName  = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	operationName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	argumentName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	connectionID  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

//go:embed providers/*.yaml
var builtin embed.FS

// Provider is a checked provider record, ready for use. It never changes.
type Provider struct {
	name        string
	title       string
	description string
	base        *url.URL // nil while its holes are not filled
	baseText    template
	hosts       []string
	settings    map[string]setting
	auth        map[Pattern]authRecord
	oauth       *grantRules
	service     *serviceRules
	probe       *probeRecord
	headers     http.Header
	scopes      []string
	described   map[string]string // the scopes, for people
	answers     []answerRule
	retry       retryRule
	timeout     time.Duration
	perUser     Share
	tools       []Tool
	about       about
	digest      string
}

// Tool is one operation of a provider. It never changes.
type Tool struct {
	provider    *Provider
	name        string
	description string
	method      string
	path        template
	query       []member
	headers     []member
	body        any // parseBody; nil when the request has none
	form        bool
	input       schema
	output      schema // zero when the record has none
	result      resultRecord
	scopes      []string
	risk        Risk
	groups      []string
	idempotency string
}

// ParseProvider checks a record whole and compiles its tools. name is the file's name, for errors, which wrap ErrRecord.
func ParseProvider(name string, yaml []byte) (Provider, error) {
	p, wrong := CheckRecord(yaml)
	if err := problems(wrong).err(name); err != nil {
		return Provider{}, err
	}
	return p, nil
}

// CheckRecord is ParseProvider that says all that is wrong, each thing with its place; the record is for use only when nothing is.
func CheckRecord(text []byte) (Provider, []string) {
	r, err := decodeRecord(text)
	if err != nil {
		var several *yaml.TypeError
		if !errors.As(err, &several) {
			return Provider{}, []string{oneLine(err.Error())}
		}
		var p problems
		for _, e := range several.Errors {
			e, _, _ = strings.Cut(e, " in type ") // ours, which nobody knows
			p = append(p, oneLine(e))
		}
		return Provider{}, p
	}
	var p problems
	out := r.provider(&p)
	if len(p) > 0 {
		return Provider{}, p
	}
	sum := sha256.Sum256(text)
	out.digest = "sha256:" + hex.EncodeToString(sum[:])
	return *out, nil
}

// Builtin are the records that come with the program, in name order. They are parsed once: that takes a while, and they never change.
func Builtin() []Provider { return slices.Clone(parsedBuiltin()) }

var parsedBuiltin = sync.OnceValue(func() []Provider {
	files, err := builtin.ReadDir("providers")
	if err != nil {
		panic(err) // embedded: it is there, or the program does not build
	}
	var out []Provider
	for _, f := range files {
		text, err := builtin.ReadFile("providers/" + f.Name())
		if err != nil {
			panic(err)
		}
		p, err := ParseProvider(f.Name(), text)
		if err != nil {
			panic(err) // a test parses them all
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Provider) int { return strings.Compare(a.name, b.name) })
	return out
})

// Name is the provider's name, such as "github".
func (p Provider) Name() string { return p.name }

// Digest is that of the record's text, to tell which one somebody has.
func (p Provider) Digest() string { return p.digest }

// Title is what people call it.
func (p Provider) Title() string { return p.title }

// Description is for people.
func (p Provider) Description() string { return p.description }

// Scopes are the record's scopes, sorted.
func (p Provider) Scopes() []string { return slices.Clone(p.scopes) }

// allows are the descriptions of the scopes that a grant of the provider's scopes is for.
func (p Provider) allows(granted []string) []string {
	var out []string
	if p.oauth == nil {
		for _, s := range slices.Sorted(maps.Keys(p.described)) {
			out = append(out, p.described[s])
		}
		return out
	}
	for _, ours := range p.scopes {
		if needs, said := p.oauth.scopes.needs[ours]; said && len(p.Missing(granted, needs)) == 0 {
			out = append(out, p.described[ours])
		}
	}
	return out
}

// Connectable reports whether a user can connect an account on our pages.
func (p Provider) Connectable() bool { return p.userPattern() != "" }

// userPattern is how a user connects: by a grant where the provider has it, else by a key of one's own.
func (p Provider) userPattern() Pattern {
	for _, pattern := range []Pattern{OAuth, APIKey, Basic} {
		if p.Supports(pattern) {
			return pattern
		}
	}
	return ""
}

func (p Provider) incremental() bool { return p.oauth != nil && p.oauth.incremental }

// Tools are its tools in name order.
func (p Provider) Tools() []Tool { return slices.Clone(p.tools) }

// Tool finds a tool by its whole name.
func (p Provider) Tool(name string) (Tool, bool) {
	i := slices.IndexFunc(p.tools, func(t Tool) bool { return t.name == name })
	if i < 0 {
		return Tool{}, false
	}
	return p.tools[i], true
}

// Supports reports whether the record says how to present a credential of this pattern.
func (p Provider) Supports(pattern Pattern) bool { _, ok := p.auth[pattern]; return ok }

// Loopback reports whether the provider is on this machine, which only an operator's development configuration allows.
func (p Provider) Loopback() bool { return p.base != nil && loopback(p.base.Hostname()) }

// Timeout of one call.
func (p Provider) Timeout() time.Duration { return p.timeout }

// Share is how many calls one user may make with what an org shares.
type Share struct {
	Calls int
	Per   time.Duration
}

// PerUser is a user's share of the org's developer secret, in one executor.
func (p Provider) PerUser() Share { return p.perUser }

// PolicyProvider is what policy needs to know of the provider: its scopes, and each tool's groups and arguments.
func (p Provider) PolicyProvider() policy.Provider {
	out := policy.Provider{Name: p.name, Scopes: slices.Clone(p.scopes)}
	for _, t := range p.tools {
		out.Tools = append(out.Tools, policy.Tool{
			Name: t.name, Provider: p.name, Groups: slices.Clone(t.groups), Args: slices.Clone(t.input.text),
		})
	}
	return out
}

// Name is "provider.operation".
func (t Tool) Name() string { return t.name }

// Provider is the provider whose tool it is.
func (t Tool) Provider() Provider { return *t.provider }

// Description is what it does, for a model.
func (t Tool) Description() string { return t.description }

// Method is the HTTP method of its request.
func (t Tool) Method() string { return t.method }

// Risk is what it may do to the world.
func (t Tool) Risk() Risk { return t.risk }

// Scopes are what a token needs, all of them, sorted.
func (t Tool) Scopes() []string { return slices.Clone(t.scopes) }

// InputSchema is the JSON Schema of the arguments.
func (t Tool) InputSchema() json.RawMessage { return slices.Clone(t.input.text) }

// OutputSchema is the JSON Schema of the result, nil when the record has none.
func (t Tool) OutputSchema() json.RawMessage { return slices.Clone(t.output.text) }

// Idempotent reports whether the provider takes an idempotency key for this tool.
func (t Tool) Idempotent() bool { return t.idempotency != "" }
