package executor

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// answer is what came of a call: for the caller, and for the trail.
type answer struct {
	outcome string // one of the audit package's outcomes
	status  int    // the provider's; 0 when none came
	detail  string // ours, for the trail
	data    json.RawMessage
	failure *ToolError
	refused *Error // the caller's own token was revoked meanwhile
	reason  string // for the trail; that of failure when empty

	rejected bool // the provider did not take the credential, and the Keeper says what follows
}

func failed(e *ToolError, status int, detail string) answer {
	a := answer{outcome: audit.OutcomeFailed, status: status, detail: detail, failure: e}
	if e.Kind == connection.OutcomeUnknown {
		a.outcome = audit.OutcomeUnknown
	}
	return a
}

func (a answer) response(actionID string) Response {
	if a.failure != nil {
		return Response{ActionID: actionID, Error: a.failure}
	}
	return Response{ActionID: actionID, Result: &Result{Data: a.data, Status: a.status}}
}

// spend borrows the credential and makes the call with it. The plaintext does not leave the callback, and neither does
// anything that was not scrubbed of it. Nothing is sent twice but what the provider refused for its credential.
func (s *Service) spend(ctx context.Context, c *call) answer {
	if ctx.Err() != nil { // GR7
		return failed(toolError(connection.Failure{Kind: connection.Unavailable}, false), 0, "the caller left before the call was made")
	}
	ctx, done := s.running.start(ctx, c)
	defer done()
	if dead := s.alive(c); dead != nil {
		return *dead
	}
	if wait := s.shares.take(c, s.Now()); wait > 0 {
		e := toolError(connection.Failure{Kind: connection.RateLimited, RetryAfter: wait}, false)
		return failed(e, 0, "the user's share of the org's key is spent; nothing was sent")
	}
	org := c.verified.OrgID()
	ready, out := s.Credentials.Ready(ctx, org, c.link, c.scopes)
	if !out.Good() {
		return s.notReady(ctx, c, out, 0)
	}
	a := s.attempt(ctx, c, ready)
	if !a.rejected {
		return a
	}
	// The provider did not take the credential, so it did nothing: once more with another one, when there is one to be had.
	if ready, out = s.Credentials.Renew(ctx, org, ready, c.scopes); !out.Good() {
		return s.notReady(ctx, c, out, a.status)
	}
	if a = s.attempt(ctx, c, ready); a.rejected {
		e := toolError(connection.Failure{Kind: connection.Unavailable, RetryAfter: retrySoon}, false)
		return failed(e, a.status, "the provider refuses a credential that it has just given")
	}
	return a
}

// notReady is the answer when there is no credential to spend. status is that of the provider's refusal of the one that there was; 0
// when none was sent.
func (s *Service) notReady(ctx context.Context, c *call, out connection.Outcome, status int) answer {
	if why := stoppedBy(ctx); why != nil {
		return halted(c, why, false)
	}
	e := toolError(out.Failure(), false)
	_ = s.offered(ctx, c, e)
	detail := "nothing was sent"
	if status != 0 {
		detail = "the provider refused the one that there was, and did nothing"
	}
	return failed(e, status, "no credential to spend ("+out.Evidence+"); "+detail)
}

// attempt makes the call once, with the credential of a connection that is ready.
func (s *Service) attempt(ctx context.Context, c *call, ready store.Connection) answer {
	provider, pattern := c.tool.Provider(), connection.Pattern(c.link.Pattern)
	ctx, cancel := context.WithTimeout(ctx, provider.Timeout())
	defer cancel()
	var a answer
	err := s.lend(ctx, c, ready, func(credential vault.Credential) error {
		if why := stoppedBy(ctx); why != nil {
			return why
		}
		r := c.request.Clone(ctx)
		if c.request.GetBody != nil {
			r.Body, _ = c.request.GetBody() // a bytes.Reader: it has no error
		}
		if err := provider.Authorize(r, pattern, credential); err != nil {
			return err
		}
		a = s.send(r, c, connection.NewScrubber(credential))
		return nil
	})
	if why := stoppedBy(ctx); err != nil && why != nil {
		return halted(c, why, false)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "credential cannot be borrowed", "action", c.actionID, "connection", c.link.ID, "error", err)
		a := failed(vaultError(err, pattern), 0, "the credential could not be borrowed; nothing was sent")
		a.rejected = pattern == connection.ServiceAccount && errors.Is(err, vault.ErrOpen) // minted under a data key that is no more
		return a
	}
	return a
}

// lend borrows the credential that is ready. One that was sealed again since the connection was read, with the org's next data key, is read again; a
// connection that differs in more than that is not what was decided on.
func (s *Service) lend(ctx context.Context, c *call, ready store.Connection, f func(vault.Credential) error) error {
	org := c.verified.OrgID()
	err := s.Vault.Use(ctx, org, ready, f)
	if !errors.Is(err, vault.ErrOpen) || ready.ID != c.link.ID {
		return err
	}
	now, readErr := s.Connections(org).Connection(ctx, c.link.ID)
	if readErr != nil || now.Version == ready.Version || !now.Updated.Equal(c.link.Updated) || now.Status != c.link.Status ||
		now.Provider != c.link.Provider || now.Pattern != c.link.Pattern || now.Subject != c.link.Subject {
		return err
	}
	return s.Vault.Use(ctx, org, now, f)
}

// send makes the call. What a lost answer means depends on whether the request can have left.
func (s *Service) send(r *http.Request, c *call, scrub connection.Scrubber) answer {
	var left atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { left.Store(true) },
	}))
	response, err := s.client.Do(r)
	if err != nil {
		return s.lost(r.Context(), c, left.Load(), err, scrub)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, connection.MaxAnswer+1))
	tooLong := errors.Is(err, egress.ErrTooLarge) || len(body) > connection.MaxAnswer
	if err != nil && !tooLong {
		return s.lost(r.Context(), c, true, err, scrub)
	}
	if tooLong {
		body = nil // the status still says what happened
	}
	pattern := connection.Pattern(c.link.Pattern)
	if f, bad := c.tool.Classify(response.StatusCode, response.Header, body, pattern, s.Now()); bad {
		a := failed(toolError(f, c.tool.Idempotent()), response.StatusCode, "the provider answered with an error")
		a.rejected = f.Kind == connection.Revoked || f.Kind == connection.Expired
		if !a.rejected {
			_ = s.offered(r.Context(), c, a.failure)
		}
		return a
	}
	// From here on the provider says that it has done it. An answer that cannot be handed on does not change that.
	a := answer{outcome: audit.OutcomeSucceeded, status: response.StatusCode}
	if tooLong {
		err = errors.New("the provider's answer is too long")
	} else {
		a.data, err = c.tool.Result(body, scrub)
	}
	if err != nil {
		a.detail, a.failure = err.Error(), toolError(connection.Failure{Kind: connection.BadResponse}, false)
	}
	return a
}

// lost is the answer when none came. A request that never left did nothing; one of a tool that only reads changed nothing;
// of any other, nobody knows.
func (s *Service) lost(ctx context.Context, c *call, left bool, err error, scrub connection.Scrubber) answer {
	if why := stoppedBy(ctx); why != nil {
		return halted(c, why, left)
	}
	// The error of net/http quotes the URL, and sometimes the answer. For the log, the innermost will do, and scrubbed.
	s.Log.Warn("no answer from provider", "action", c.actionID, "tool", c.tool.Name(), "left", left,
		"error", scrub.Text(innermost(err).Error()))
	switch {
	case errors.Is(err, egress.ErrAddress), errors.Is(err, egress.ErrPlaintext):
		return failed(toolError(connection.Failure{Kind: connection.OperatorConfig}, false), 0,
			"the egress rules refuse the provider's address; nothing was sent")
	case !left:
		return failed(toolError(connection.Failure{Kind: connection.Unavailable}, false), 0, "no connection; nothing was sent")
	case c.tool.Risk() == connection.Read:
		e := toolError(connection.Failure{Kind: connection.Unavailable}, false)
		e.Message = "No answer came from the provider. The call only reads, so it may be tried again."
		return failed(e, 0, "sent; no answer came")
	}
	return failed(toolError(connection.Failure{Kind: connection.OutcomeUnknown}, c.tool.Idempotent()), 0, "sent; no answer came")
}

func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// outcomeTimeout bounds the record of an outcome, which is written even when the caller has gone.
const outcomeTimeout = 15 * time.Second

func (s *Service) recordOutcome(ctx context.Context, c *call, a answer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	r := c.record(s.Now(), audit.KindOutcome, a.outcome)
	r.Status, r.Detail = a.status, a.detail
	switch {
	case a.reason != "":
		r.Reason = a.reason
	case a.failure != nil:
		r.Reason = string(a.failure.Kind)
	}
	return s.Audit.Record(ctx, r)
}

// unrecorded is what the caller hears when the call was made and its outcome could not be recorded: not the data, for
// nothing unrecorded is returned, and not a refusal, for something may have happened.
func (s *Service) unrecorded(ctx context.Context, c *call, err error) Response {
	s.Log.ErrorContext(ctx, "the outcome of a call could not be recorded", "action", c.actionID, "tool", c.tool.Name(), "error", err)
	return Response{ActionID: c.actionID, Error: &ToolError{
		Kind: connection.OutcomeUnknown,
		Message: "The call was made, but its outcome could not be recorded and is withheld. " +
			"It may have taken effect: look before doing it again.",
	}}
}

// record is a record of this call. It holds no argument, only their digest: arguments may be private.
func (c *call) record(now time.Time, kind, outcome string) audit.Record {
	claims := c.verified.Claims()
	r := audit.Record{
		ActionID: c.actionID, Kind: kind, Outcome: outcome, Org: claims.OrgID, Time: now,
		Transaction: claims.Transaction, TokenID: claims.ID, Subject: claims.Subject, Chain: c.verified.Chain(),
		Lineage: claims.Lineage, ClientID: claims.ClientID, Resource: c.tool.Name(), ScopeAsked: c.tool.Scopes(),
		ScopeGranted:  claims.Scope.List(),
		PolicyVersion: c.decision.Version, PolicyIDs: c.decision.Policies, TraceID: c.trace, Connection: c.link.ID,
	}
	if r.Resource == "" {
		r.Resource = printable(c.asked)
	}
	if kind == audit.KindIntent && outcome == audit.OutcomeApproved {
		sum := sha256.Sum256(c.args.JSON())
		r.Detail = "arguments sha256:" + hex.EncodeToString(sum[:])
	}
	return r
}

// printable keeps what a caller wrote from being more than a name in the trail.
func printable(s string) string {
	return fmt.Sprintf("%.128q", s)
}

// idempotencyKey is the same for the same call under the same token, so that a provider recognises a repetition, and says
// nothing about it to anybody else.
func (c *call) idempotencyKey() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "obo idempotency key|%s|%s|%s|%s|%s",
		c.verified.OrgID(), c.verified.Transaction(), c.verified.ID(), c.tool.Name(), c.args.JSON()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
