// Package executor spends delegation tokens: it makes provider calls with credentials that no agent ever holds.
//
// A call is judged on the token's top-level claims, its current actor and the call's own arguments. A durable record of the
// intent is written before a credential is touched, and one of the outcome before anything is returned. When the second
// cannot be written, the first still stands, and the caller is told that the outcome is not known.
package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

// Request is one call.
type Request struct {
	Tool       string // "provider.operation", at most 128 bytes
	Arguments  []byte // one JSON object, at most connection.MaxArguments bytes; empty means {}
	Connection string // which connection, when the subject has more than one
}

// Response is what came of a call: Result, or Error when there is none.
type Response struct {
	ActionID string // the audit trail knows the call by it
	Nonce    string // for the next DPoP proof; empty when none is needed
	Result   *Result
	Error    *ToolError
}

// Result is data from outside: untrusted, never instructions.
type Result struct {
	Data   json.RawMessage // at most connection.MaxResult bytes, mapped by the tool's record, scrubbed
	Status int             // the provider's HTTP status
}

// ToolError is an error that an agent can act on. Its message is ours: no provider text, no secret.
type ToolError struct {
	Kind         connection.Kind
	Message      string
	Retryable    bool // the same call may be tried again as it is
	RetryAfter   time.Duration
	ReconnectURL string
}

// Error implements error.
func (e *ToolError) Error() string { return string(e.Kind) + ": " + e.Message }

// Revocations knows revoked tokens and connections: nil, delegation.ErrRevoked, or delegation.ErrUnavailable when it cannot
// know.
type Revocations interface {
	Check(c *delegation.Claims, now time.Time) error
	CheckConnection(org delegation.OrgID, id string, put, now time.Time) error
}

// PolicySets finds the compiled policy of an org. An error means that there is none to decide by: refuse.
type PolicySets interface {
	Set(org delegation.OrgID) (*policy.Set, error)
}

// Connections is one org's connections. store.ErrNotFound says that there is none of an id. ConnectionsFor lists those to a
// provider that are the subject's own or shared by the org.
type Connections interface {
	Connection(ctx context.Context, id string) (store.Connection, error)
	ConnectionsFor(ctx context.Context, provider, subject string) ([]store.Connection, error)
}

// Recorder writes the audit trail. A nil error MUST mean that the record is durable.
type Recorder interface {
	Record(ctx context.Context, r audit.Record) error
}

// Lender lends credentials. vault.Vault does.
type Lender interface {
	Use(ctx context.Context, org delegation.OrgID, conn store.Connection, f func(vault.Credential) error) error
}

// Credentials makes the credential of a connection ready to be spent. connection.Keeper does.
type Credentials interface {
	Ready(ctx context.Context, org delegation.OrgID, c store.Connection, scopes []string) (store.Connection, connection.Outcome)
	Renew(ctx context.Context, org delegation.OrgID, c store.Connection, scopes []string) (store.Connection, connection.Outcome)
}

// Reconnecter makes the link at which a user connects an account. connection.Connector does.
type Reconnecter interface {
	Reconnect(ctx context.Context, org delegation.OrgID, w connection.Wish) (url string, err error)
}

// Config is what a Service is made of. Every field is required but RequireDPoP and Reconnect.
type Config struct {
	Verifier    Verifier
	Checker     *dpop.Checker // of proofs
	RequireDPoP bool          // take no token without a proof
	Proofs      func(delegation.OrgID) Proofs
	Revocations Revocations
	Policies    PolicySets
	Providers   *connection.Catalog
	Connections func(delegation.OrgID) Connections
	Vault       Lender
	Credentials Credentials
	Reconnect   Reconnecter // nil: no link is offered
	Audit       Recorder
	HTTP        *http.Client // an egress client; redirects are never followed
	Now         func() time.Time
	Log         *slog.Logger
}

// Service is the executor. It is safe for many goroutines.
type Service struct {
	Config
	client  http.Client
	running running
	shares  shares
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Verifier == nil || c.Checker == nil || c.Proofs == nil || c.Revocations == nil || c.Policies == nil || c.Providers == nil ||
		c.Connections == nil || c.Vault == nil || c.Credentials == nil || c.Audit == nil || c.HTTP == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("executor: Config needs every field")
	}
	s := &Service{Config: c, client: *c.HTTP}
	// A redirect would carry the credential, or the call, to where nobody decided that it goes.
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client.Jar = nil
	return s, nil
}

// call is what is known of a call as it goes through the steps.
type call struct {
	actionID string
	trace    string
	asked    string // the tool's name as the caller wrote it
	verified delegation.Verified
	tool     connection.Tool
	args     connection.Arguments
	request  *http.Request
	link     store.Connection
	scopes   []string // the provider's own, that the call needs
	decision policy.Decision
}

// Execute makes one call. A refusal of the caller is an *Error; what the provider or its credential answered is in the
// Response.
func (s *Service) Execute(ctx context.Context, p Presented, r Request) (Response, error) {
	// 1. Who asks: the token, verified, for this executor, not revoked, with the key that it is bound to (EX1 to EX6).
	v, refused := s.admit(ctx, p)
	if refused != nil && v.ID() == "" {
		return Response{}, refused
	}
	c := &call{actionID: v.Transaction() + "." + uuid.NewString(), trace: telemetry.TraceID(ctx), asked: r.Tool, verified: v}
	if refused != nil {
		return s.refuse(ctx, c, refused)
	}
	response, err := s.execute(ctx, c, r)
	response.Nonce = s.nonce(ctx, p)
	return response, err
}

// execute makes the call of a caller who is known.
func (s *Service) execute(ctx context.Context, c *call, r Request) (Response, error) {
	// 2. What is asked for: the tool, as the token's own org knows it.
	if err := s.findTool(ctx, c, r.Tool); err != nil {
		return s.refuse(ctx, c, err)
	}
	// 3. The token's scopes cover it (EX8).
	if e := scopeError(c.tool, c.verified.Scope()); e != nil {
		return s.refuse(ctx, c, e)
	}
	// 4. The arguments fit the tool.
	if err := c.accept(r.Arguments); err != nil {
		return s.refuse(ctx, c, err)
	}
	// 5. The connection is of this org, and of this subject or shared (EX7). It says where the provider is.
	if err := s.choose(ctx, c, r.Connection); err != nil {
		return s.refuse(ctx, c, s.unconnected(ctx, c, err))
	}
	if err := s.build(ctx, c); err != nil {
		return s.refuse(ctx, c, err)
	}
	// 6. The token's authorization_details cover these arguments (EX8), and policy allows this agent this call with them on
	// this connection.
	if err := s.decide(c); err != nil {
		return s.refuse(ctx, c, err)
	}
	// 7. Its user has granted what the call needs at the provider. Nobody is asked to grant what policy would not let be used.
	if err := s.granted(ctx, c); err != nil {
		return s.refuse(ctx, c, err)
	}
	// 8. The intent is on record before the credential is touched.
	if err := s.Audit.Record(ctx, c.record(s.Now(), audit.KindIntent, audit.OutcomeApproved)); err != nil {
		return Response{}, c.at(unavailable("the call cannot be recorded, so it was not made", err))
	}
	// 9. Borrow the credential, call the provider, and read what came of it.
	a := s.spend(ctx, c)
	// 10. The outcome is on record before it is told, whether or not the caller still waits.
	if err := s.recordOutcome(ctx, c, a); err != nil {
		return s.unrecorded(ctx, c, err), nil
	}
	if a.refused != nil {
		return Response{}, c.at(a.refused)
	}
	// 11. Data, labelled by its place in the response as untrusted, or an error that an agent can act on.
	return a.response(c.actionID), nil
}

// findTool finds the tool in the providers of the token's org.
func (s *Service) findTool(ctx context.Context, c *call, name string) error {
	if name == "" || len(name) > 128 {
		return invalid("tool", "tool must name a tool, such as github.create_issue")
	}
	tool, ok, err := s.Providers.Tool(ctx, c.verified.OrgID(), name)
	switch {
	case errors.Is(err, connection.ErrRecord):
		return unavailable("the org's provider records are not in order; only the operator can help", err)
	case err != nil:
		return unavailable("the org's providers cannot be read now", err)
	case !ok:
		return &Error{Reason: NotFound, Description: "the org has no such tool"}
	}
	c.tool = tool
	return nil
}

// accept validates the arguments.
func (c *call) accept(raw []byte) (err error) {
	if c.args, err = c.tool.Arguments(raw); err != nil {
		return argumentError(err)
	}
	return nil
}

// build makes the request of the arguments, without a credential, for where the connection is.
func (s *Service) build(ctx context.Context, c *call) error {
	tool, err := c.tool.At(c.link.Settings)
	if err != nil {
		s.Log.WarnContext(ctx, "a connection's settings do not say where its provider is", "connection", c.link.ID, "error", err)
		return toolError(connection.Failure{Kind: connection.OperatorConfig}, false)
	}
	c.tool = tool
	if c.request, err = tool.Request(ctx, c.args, c.idempotencyKey()); err != nil {
		return argumentError(err)
	}
	c.scopes = tool.Provider().ScopesFor(connection.Pattern(c.link.Pattern), tool.Scopes())
	return nil
}

// granted holds what the call needs at the provider against what the connection's user granted.
func (s *Service) granted(ctx context.Context, c *call) error {
	if connection.Pattern(c.link.Pattern) == connection.OAuth && c.link.Scopes != nil && len(c.tool.Provider().Missing(c.link.Scopes, c.scopes)) > 0 {
		return s.offered(ctx, c, toolError(connection.Failure{Kind: connection.NeedsConsent}, false))
	}
	return nil
}

// choose picks the connection and checks that it is not revoked.
func (s *Service) choose(ctx context.Context, c *call, id string) error {
	org := c.verified.OrgID()
	provider, subject := c.tool.Provider().Name(), c.verified.Subject()
	conns, err := s.candidates(ctx, org, provider, subject, id)
	if err != nil {
		return unavailable("the connections cannot be read now", err)
	}
	if c.link, err = connection.Choose(conns, provider, subject, id); err != nil {
		return linkError(c.tool, err)
	}
	if err := s.Revocations.CheckConnection(org, c.link.ID, c.link.Updated, s.Now()); err != nil {
		return linkError(c.tool, err)
	}
	return nil
}

// candidates are the connections that the subject may have, or the one that the caller names. Choose judges them.
func (s *Service) candidates(ctx context.Context, org delegation.OrgID, provider, subject, id string) ([]store.Connection, error) {
	if id == "" {
		return s.Connections(org).ConnectionsFor(ctx, provider, subject)
	}
	if !connection.ValidID(id) {
		return nil, nil
	}
	one, err := s.Connections(org).Connection(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return []store.Connection{one}, err
}

// decide asks the token's details, and then policy, about the very arguments that the provider would get.
func (s *Service) decide(c *call) error {
	set, err := s.Policies.Set(c.verified.OrgID())
	if err != nil {
		return unavailable("the org's policy is not here, so nothing is allowed", err)
	}
	details, err := c.cover(set.DetailTypes())
	if err != nil {
		return err
	}
	claims := c.verified.Claims()
	c.decision = set.Call(policy.CallRequest{
		Actor:   c.verified.Actor(),
		Subject: policy.Subject{ID: claims.Subject, Groups: claims.Groups, ACR: claims.ACR, AMR: claims.AMR},
		Depth:   c.verified.Depth(), Scopes: c.verified.Scope().List(), Now: s.Now(), Tool: c.tool.Name(),
		Connection: policy.Connection{ID: c.link.ID, Provider: c.link.Provider, Owner: c.link.Subject},
		Arguments:  c.args.JSON(), Details: details,
	})
	if !c.decision.Allowed {
		return &Error{Reason: AccessDenied, Description: "policy refuses this call: " + c.decision.Reason}
	}
	return nil
}

// refuse puts a refusal on record and returns it. A refusal that cannot be recorded is still one, but of another kind.
func (s *Service) refuse(ctx context.Context, c *call, why error) (Response, error) {
	var refused *Error
	var tool *ToolError
	record := c.record(s.Now(), audit.KindIntent, audit.OutcomeRefused)
	switch {
	case errors.As(why, &tool):
		record.Reason, record.Detail = string(tool.Kind), tool.Message
	case errors.As(why, &refused):
		record.Reason, record.Detail = string(refused.Reason), refused.Description
	default:
		return Response{}, fmt.Errorf("executor: %w", why)
	}
	if recordErr := s.Audit.Record(ctx, record); recordErr != nil {
		return Response{}, c.at(unavailable("the call is refused, and the refusal cannot be recorded", recordErr))
	}
	if refused != nil {
		return Response{}, c.at(refused)
	}
	return Response{ActionID: c.actionID, Error: tool}, nil
}

// at adds the action id.
func (c *call) at(e *Error) *Error {
	e.ActionID = c.actionID
	return e
}

// ToolInfo describes a tool to an agent.
type ToolInfo struct {
	Name, Description         string
	InputSchema, OutputSchema json.RawMessage
	Risk                      string
	Scopes                    []string
}

// Tools are the tools that a token may be spent on.
type Tools struct {
	List  []ToolInfo
	Nonce string // for the next DPoP proof; empty when none is needed
}

// ListTools lists the tools that the token's scopes cover, in name order. It needs what a call would need: a token that
// verifies, and a policy to decide by. Which arguments a call may have, by policy and by authorization_details, is decided at
// the call.
func (s *Service) ListTools(ctx context.Context, p Presented) (Tools, error) {
	v, nonce, err := s.Admit(ctx, p)
	if err != nil {
		return Tools{}, err
	}
	if _, err := s.Policies.Set(v.OrgID()); err != nil {
		return Tools{}, unavailable("the org's policy is not here, so nothing is allowed", err)
	}
	providers, err := s.Providers.Providers(ctx, v.OrgID())
	if err != nil {
		return Tools{}, unavailable("the org's providers cannot be read now", err)
	}
	out := Tools{Nonce: nonce}
	for _, p := range providers {
		for _, t := range p.Tools() {
			if scopeError(t, v.Scope()) != nil {
				continue
			}
			out.List = append(out.List, ToolInfo{
				Name: t.Name(), Description: t.Description(), InputSchema: t.InputSchema(), OutputSchema: t.OutputSchema(),
				Risk: string(t.Risk()), Scopes: t.Scopes(),
			})
		}
	}
	return out, nil
}
