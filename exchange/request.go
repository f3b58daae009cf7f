package exchange

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// Grant and token types (RFC 8693 §2.1, §3; RFC 7523 §2.2).
const (
	GrantType              = "urn:ietf:params:oauth:grant-type:token-exchange"
	GrantClientCredentials = "client_credentials"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	TypeAccessToken        = "urn:ietf:params:oauth:token-type:access_token"
	TypeIDToken            = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT                = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDJAG              = "urn:ietf:params:oauth:token-type:id-jag"
	TypeTxnToken           = "urn:ietf:params:oauth:token-type:txn_token"
	ClientAssertionType    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	ClientAssertionSPIFFE  = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

// Credential is what a door found of the caller's own credential. Doors find it; only this package judges it.
type Credential struct {
	ClientID      string           // as sent; empty when only an assertion was
	Secret        telemetry.Secret // client_secret_basic or client_secret_post
	Assertion     string           // client_assertion
	AssertionType string           // of it; empty: told by the assertion itself (gRPC)
	RemoteIP      netip.Addr       // of the caller, for policy; zero when unknown

	Certificates []*x509.Certificate // of the TLS connection: the leaf first; nobody has judged them
	Proofs       []string            // the values of DPoP
	Method, URI  string              // of this request, as a proof names them: htm and htu
}

// Format prints a Credential without its secrets, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "Credential(%q)", c.ClientID) }

// LogValue is the same for slog.
func (c Credential) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// Request is RFC 8693 §2.1, parameter by parameter, as a door read it. An empty value counts as absent (TE3). No field
// names an org: the org is that of the client (TX24).
type Request struct {
	Grant                string // grant_type; empty: GrantType
	Assertion            string // of GrantJWTBearer
	RequestContext       string // JSON object, for a transaction token
	RequestDetails       string // JSON object, for a transaction token
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
	TokenType       string // "DPoP" when the token is bound to a DPoP key, "Bearer", or "N_A" when it is no access token (TX13)
	ExpiresIn       int    // seconds, always positive (TE14)
	Scope           string // always present, sorted (TE13)
	ActionID        string // under which the trail has the decision

	AuthorizationDetails string // granted, as JSON; empty when there are none (RA5)
	Nonce                string // for the next DPoP proof; empty when none is needed
}

// Format prints a Response without its token, whatever the verb.
func (r Response) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Response(action %s, scope %q, %d s)", r.ActionID, r.Scope, r.ExpiresIn)
}

// LogValue is the same for slog.
func (r Response) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// maxTargets is how many resources and audiences are read.
const maxTargets = 8

// Want is a request that was read and found in order: what is asked for, and of what type the tokens are said to be. Whether
// it may be had is for Decide.
type Want struct {
	Grant          string            // grant_type
	SubjectType    string            // TypeAccessToken, TypeIDToken, TypeJWT or TypeTxnToken; of token exchange only
	ActorType      string            // TypeAccessToken, TypeJWT, or empty: the client's own agent acts
	Resources      []string          // as registry.NormalURI gives them
	Names          []string          // logical names
	Scope          delegation.Scopes //
	AnyScope       bool              // no scope was named: all that policy allows
	Details        rar.Details       // none: those of the parent
	Life           time.Duration     // 0: the default
	MayAct         string            // the client_id of who may pick the token up, or empty
	IssuedType     string            // TypeAccessToken, TypeJWT, TypeIDJAG or TypeTxnToken
	RequestContext []byte            // of a transaction token
	RequestDetails []byte            //
}

// grant is the request's grant type.
func (r *Request) grant() string {
	if r.Grant == "" {
		return GrantType
	}
	return r.Grant
}

// parse checks the shape of a request (RFC 8693 §2.1), before anything is verified. Of an org it knows what can be named.
func parse(r *Request, types rar.Types) (Want, error) {
	w := Want{Grant: r.grant(), SubjectType: r.SubjectTokenType, ActorType: r.ActorTokenType, MayAct: r.MayAct}
	checks := []func(*Want, *Request) *Error{checkSubject, checkActor, checkTargets, checkScope, checkFormat, checkExtras}
	for _, check := range checks {
		if err := check(&w, r); err != nil {
			return Want{}, err
		}
	}
	var err *Error
	if w.Details, err = readDetails(r.AuthorizationDetails, types); err != nil {
		return Want{}, err
	}
	return w, nil
}

// checkSubject wants what the grant takes its subject from, and nothing else that names one: a parameter that another server
// would act on is never ignored.
func checkSubject(w *Want, r *Request) *Error {
	if w.Grant != GrantType {
		return checkOtherSubject(w, r)
	}
	switch {
	case r.Assertion != "":
		return invalid("assertion", "assertion is for the grant %s: a token exchange has a subject_token", GrantJWTBearer)
	case r.SubjectToken == "":
		return invalid("subject_token", "subject_token is missing") // TX2
	case len(r.SubjectToken) > jose.MaxTokenSize:
		return invalid("subject_token", "subject_token is longer than %d bytes", jose.MaxTokenSize)
	case r.SubjectTokenType == "":
		return invalid("subject_token_type", "subject_token_type is missing") // TX2
	case !slices.Contains(subjectTypes, r.SubjectTokenType):
		return invalid("subject_token_type", "subject_token_type must be one of %s", strings.Join(subjectTypes, ", ")) // TX4
	}
	return nil
}

// subjectTypes are the types of subject_token.
var subjectTypes = []string{TypeIDToken, TypeJWT, TypeAccessToken, TypeTxnToken}

func checkOtherSubject(w *Want, r *Request) *Error {
	switch {
	case r.SubjectToken != "" || r.SubjectTokenType != "":
		return invalid("subject_token", "subject_token is for token exchange: this grant takes its subject from elsewhere")
	case r.ActorToken != "" || r.ActorTokenType != "": // JG7
		return invalid("actor_token", "actor_token is for token exchange: under this grant the client itself acts")
	case w.Grant == GrantJWTBearer && r.Assertion == "":
		return invalid("assertion", "assertion is missing")
	case w.Grant == GrantJWTBearer && len(r.Assertion) > jose.MaxTokenSize:
		return invalid("assertion", "assertion is longer than %d bytes", jose.MaxTokenSize)
	}
	return nil
}

func checkActor(_ *Want, r *Request) *Error {
	switch {
	case r.ActorToken == "" && r.ActorTokenType != "":
		return invalid("actor_token", "actor_token_type comes with an actor_token") // TX3
	case r.ActorToken != "" && r.ActorTokenType == "":
		return invalid("actor_token_type", "actor_token comes with an actor_token_type") // TX3
	case len(r.ActorToken) > jose.MaxTokenSize:
		return invalid("actor_token", "actor_token is longer than %d bytes", jose.MaxTokenSize)
	case r.ActorToken != "" && r.ActorTokenType != TypeAccessToken && r.ActorTokenType != TypeJWT:
		return invalid("actor_token_type", "actor_token_type must be one of %s, %s", TypeJWT, TypeAccessToken) // TX4
	}
	return nil
}

func checkTargets(w *Want, r *Request) *Error {
	if len(r.Resource)+len(r.Audience) > maxTargets {
		return refuse(InvalidTarget, "resource", nil, "more than %d targets", maxTargets)
	}
	for _, raw := range r.Resource {
		uri, ok := registry.NormalURI(raw)
		if !ok {
			return refuse(InvalidTarget, "resource", nil, "resource must be an absolute URI without a fragment") // TX8
		}
		w.Resources = append(w.Resources, uri)
	}
	for _, name := range r.Audience {
		if name == "" || len(name) > maxDescription || printable(name) != name {
			return refuse(InvalidTarget, "audience", nil, "audience must be a logical name of at most %d characters", maxDescription)
		}
		w.Names = append(w.Names, name)
	}
	return nil
}

func checkScope(w *Want, r *Request) *Error {
	var err error
	if w.Scope, err = delegation.ParseScopes(r.Scope); err != nil {
		return refuse(InvalidScope, "scope", err, "scope must be at most 100 names, single spaces between them (RFC 6749 section 3.3)")
	}
	w.AnyScope = w.Scope.Empty()
	return nil
}

func checkExtras(w *Want, r *Request) *Error {
	if r.RequestedExpiresIn < 0 || r.RequestedExpiresIn > maxSeconds {
		return invalid("requested_expires_in", "requested_expires_in must be a number of seconds, at least 1")
	}
	w.Life = time.Duration(r.RequestedExpiresIn) * time.Second
	if r.MayAct != "" {
		if _, _, err := delegation.ParseClientID(r.MayAct); err != nil {
			return invalid("may_act", "may_act must be a client_id")
		}
	}
	return nil
}

// maxSeconds is the largest life that can be asked for; any large one is cut down to what the limits allow.
const maxSeconds = 1<<31 - 1
