package exchange

import (
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/onbehalf/obo/telemetry"
)

// Grant and token types (RFC 8693 §2.1, §3; RFC 7523 §2.2).
const (
	GrantType           = "urn:ietf:params:oauth:grant-type:token-exchange"
	TypeAccessToken     = "urn:ietf:params:oauth:token-type:access_token"
	TypeIDToken         = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT             = "urn:ietf:params:oauth:token-type:jwt"
	ClientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Credential is what a door found of the caller's own credential. Doors find it; only this package judges it.
type Credential struct {
	ClientID  string           // as sent; empty when only an assertion was
	Secret    telemetry.Secret // client_secret_basic or client_secret_post
	Assertion string           // client_assertion of type ClientAssertionType
	RemoteIP  netip.Addr       // of the caller, for policy; zero when unknown
}

// Format prints a Credential without its secrets, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "Credential(%q)", c.ClientID) }

// LogValue is the same for slog.
func (c Credential) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// Request is RFC 8693 §2.1, parameter by parameter, as a door read it. An empty value counts as absent (TE3). No field
// names an org: the org is that of the client (TX24).
type Request struct {
	SubjectToken         string
	SubjectTokenType     string
	ActorToken           string
	ActorTokenType       string
	Resource             []string // absolute URIs
	Audience             []string // registered names
	Scope                string   // space-separated
	RequestedTokenType   string
	AuthorizationDetails string
	RequestedExpiresIn   int    // seconds; 0: the default
	MayAct               string // client_id of the one agent that may pick the new token up
}

// Format prints a Request without its tokens, whatever the verb.
func (r Request) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Request(subject %q, actor %q, resource %q, scope %q)", r.SubjectTokenType, r.ActorTokenType, r.Resource, r.Scope)
}

// LogValue is the same for slog.
func (r Request) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// Response is RFC 8693 §2.2.1.
type Response struct {
	AccessToken     string
	IssuedTokenType string // what was issued
	TokenType       string // "Bearer"
	ExpiresIn       int    // seconds, always positive (TE14)
	Scope           string // always present, sorted (TE13)
	ActionID        string // under which the trail has the decision
}

// Format prints a Response without its token, whatever the verb.
func (r Response) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Response(action %s, scope %q, %d s)", r.ActionID, r.Scope, r.ExpiresIn)
}

// LogValue is the same for slog.
func (r Response) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }
