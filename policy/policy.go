// Package policy decides with Cedar: may this agent have this scope, may it have this object of authorization_details, may it
// make this call with these arguments.
//
// One schema serves all three questions (DESIGN §6). It is generated for each bundle: a fixed part, one action per type of
// authorization_details whose `detail` is typed from the type's JSON Schema, and one action per tool whose `args` are typed
// from the tool's. Compile turns a bundle into an immutable Set; a Set only reads what it
// was given, so that mint and call, on two machines, decide alike.
//
// Everything is refused by default. Beyond Cedar's own rules, an error in the evaluation of any policy refuses (Cedar skips
// a forbid that errs, which would allow), and so does a request that does not fit the schema.
package policy

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
)

// File is one policy file as its author wrote it.
type File struct {
	Name string `json:"name" yaml:"name"` // shown in errors; no path is opened
	Text string `json:"text" yaml:"text"` // Cedar policies, at most MaxFileSize bytes
}

// Tool is one operation of a provider, and one action of the schema.
type Tool struct {
	Name     string          `json:"name" yaml:"name"`         // "github.create_issue": the action's id
	Provider string          `json:"provider" yaml:"provider"` // "github"
	Groups   []string        `json:"groups,omitempty" yaml:"groups,omitempty"`
	Args     json.RawMessage `json:"args,omitempty" yaml:"args,omitempty"` // JSON Schema of the arguments; none means no arguments
}

// Provider is a provider with its scopes and its tools.
type Provider struct {
	Name   string   `json:"name" yaml:"name"`
	Scopes []string `json:"scopes,omitempty" yaml:"scopes,omitempty"`
	Tools  []Tool   `json:"tools,omitempty" yaml:"tools,omitempty"`
}

// Agent is a registered agent of the bundle's org.
type Agent struct {
	Name     string   `json:"name" yaml:"name"` // within the org: "researcher"
	Groups   []string `json:"groups,omitempty" yaml:"groups,omitempty"`
	Owner    string   `json:"owner,omitempty" yaml:"owner,omitempty"`
	External bool     `json:"external,omitempty" yaml:"external,omitempty"`
}

// Bundle is all that a Set is compiled from. It is JSON because it travels in the feed, from the STS to the executors.
type Bundle struct {
	Org       delegation.OrgID `json:"org"`
	Version   string           `json:"version"`
	Platform  []File           `json:"platform,omitempty"` // the operator's guardrails; an org cannot remove them
	Policies  []File           `json:"policies,omitempty"` // the org's own
	Providers []Provider       `json:"providers,omitempty"`
	Agents    []Agent          `json:"agents,omitempty"`
	Resources []string         `json:"resources,omitempty"` // URIs that a token of this org may be for (aud)

	DetailTypes []rar.Type `json:"authorization_details_types,omitempty"` // of this org (RFC 9396)
}

// Subject is the user on whose behalf, as the subject token told it.
type Subject struct {
	ID     string   // "user:acme/okta|00u1" is User::"acme/okta|00u1"; "service:acme/reporting" is User::"acme/service|reporting"
	Groups []string // "engineering" is Group::"acme/engineering"
	ACR    string   // empty: unknown
	AMR    []string
}

// ExchangeRequest asks for scopes, or for details, at the mint. Life is seen by policy in whole seconds.
type ExchangeRequest struct {
	Actor    string // agent id of the token's actor
	Subject  Subject
	Chain    []string // agent ids, the current actor first
	Depth    int
	Audience string // a registered resource
	Life     time.Duration
	Now      time.Time
	ClientIP netip.Addr // zero: absent
	Scopes   []string
	Details  []rar.Detail // authorization_details, read by DetailTypes of this very set
}

// Connection is what a call would spend.
type Connection struct {
	ID       string // within the org
	Provider string
	Owner    string // user id; empty when the org shares it
}

// CallRequest asks for one call of one tool.
type CallRequest struct {
	Actor      string // agent id of the current actor
	Subject    Subject
	Depth      int
	Scopes     []string
	Now        time.Time
	Approved   bool // a person approved this very call
	Tool       string
	Connection Connection
	Arguments  []byte // a JSON object; empty means {}

	// Details are those that cover the call, by type, as Types.Cover found them: one of each type that governs the tool.
	Details map[string]rar.Detail
}

// Decision is the answer to one question, with what determined it. Equal questions to equal sets have equal answers.
type Decision struct {
	Allowed  bool
	Version  string   // of the set that decided
	Policies []string // "org/<id>" and "platform/<id>", sorted: the permits that allowed, or the forbids that refused
	Reason   string   // why not, safe for the caller; empty when allowed
}
