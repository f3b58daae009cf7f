package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/telemetry"
)

// How many refusals of one client the trail takes. An agent that has lost its mind asks for the same thing a thousand times a
// second: its first refusals are evidence, the rest only fill a trail that must be durable. What is left out is counted, and
// the next record says how many.
const (
	refusalsPerSecond = 50
	refusalsBurst     = 1000
)

// action is the id under which the trail has a decision.
func (f *Facts) action() string { return f.transaction() + "." + f.TokenID }

// transaction is the one that the new token would be of.
func (f *Facts) transaction() string {
	if t := f.Subject.claims.Transaction; t != "" {
		return t
	}
	return f.Transaction
}

// record is what goes on the trail before the signature. It says that issuing was approved, not that it happened.
func (a *Approval) record(ctx context.Context, f *Facts) audit.Record {
	c := &a.claims
	return audit.Record{
		ActionID: f.action(), Kind: audit.KindExchange, Outcome: audit.OutcomeApproved, Org: c.OrgID, Time: f.Now,
		Transaction: c.Transaction, TokenID: c.ID, Subject: c.Subject, Chain: c.Chain(), Lineage: c.Lineage, ClientID: c.ClientID,
		Resource: c.Audience, ScopeAsked: f.Want.Scope.List(), ScopeGranted: c.Scope.List(), PolicyVersion: a.evidence.version,
		PolicyIDs: a.evidence.policies, TraceID: telemetry.TraceID(ctx),
		Detail: a.detail(), Expiry: c.Expiry, Began: c.SubjectIssuedAt, Session: c.SessionID,
	}
}

// detail is what the columns of a record do not say.
func (a *Approval) detail() string {
	text := fmt.Sprintf("%s, expires %s", a.hop, a.claims.Expiry.Format(time.RFC3339))
	switch k := a.claims.Confirmation; {
	case k == nil:
	case k.JKT != "":
		text += ", bound to key " + k.JKT
	default:
		text += ", bound to certificate " + k.X5T
	}
	if typ := a.unsigned.Type(); typ != delegation.TokenType {
		text += ", " + typ
	}
	if d := a.claims.AuthorizationDetails; len(d) > 0 {
		text += ", authorization_details " + string(d)
	}
	return text
}

// refused records a refusal of an authenticated client and gives the error back to the caller. When the trail cannot take the
// record the refusal stands: it grants nothing. What is no decision (something is away, the caller is gone, a nonce is needed)
// is not recorded.
func (s *Service) refused(ctx context.Context, f *Facts, err error) (Response, error) {
	e, ok := errors.AsType[*Error](err)
	if ok {
		e = e.under(f.Grant)
	}
	switch {
	case !ok && ctx.Err() != nil:
		return Response{}, ctx.Err()
	case !ok:
		e = refuse(Internal, "", err, "")
		return Response{}, e
	case e.Reason == DependencyUnavailable, e.Reason == Internal, e.Reason == UseNonce:
		return Response{}, e
	}
	left, ok := s.refusals.take(f.Client.ClientID, f.Now)
	if !ok {
		return Response{}, e
	}
	r := audit.Record{
		ActionID: f.action(), Kind: audit.KindExchange, Outcome: audit.OutcomeRefused, Reason: string(e.Reason), Org: f.Org.ID(),
		Time: f.Now, Transaction: f.transaction(), ClientID: f.Client.ClientID, ScopeAsked: f.Want.Scope.List(),
		PolicyVersion: e.evidence.version, PolicyIDs: e.evidence.policies, TraceID: telemetry.TraceID(ctx), Detail: e.Description,
	}
	f.describe(&r)
	if left > 0 {
		r.Detail += fmt.Sprintf(" (%d refusals before this one were not recorded)", left)
	}
	// The caller may be gone already; its refusal is on the record all the same.
	if err := s.cfg.Audit.Record(context.WithoutCancel(ctx), r); err != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "a refusal was not recorded", slog.String("action_id", r.ActionID), slog.Any("error", err))
		return Response{}, e
	}
	e.ActionID = r.ActionID
	return Response{}, e
}

// describe adds what was known when the request was refused. The chain is the one that was asked for.
func (f *Facts) describe(r *audit.Record) {
	if targets := append(append([]string(nil), f.Want.Resources...), f.Want.Names...); len(targets) == 1 {
		r.Resource = targets[0]
	}
	switch c := &f.Subject.claims; {
	case f.Subject.login != nil:
		r.Subject, r.Chain = f.Subject.login.subject.ID, []string{f.Client.ID}
	case c.OrgID == f.Org.ID(): // nothing of another org's token enters this org's trail
		r.Subject, r.Chain, r.Lineage = c.Subject, c.Chain(), append(c.Lineage[:len(c.Lineage):len(c.Lineage)], c.ID)
		if f.Actor != nil && f.Actor.ID != r.Chain[0] {
			r.Chain = append([]string{f.Actor.ID}, r.Chain...)
		}
	default:
		r.Transaction, r.ActionID = f.Transaction, f.Transaction+"."+f.TokenID
	}
}

// turnedAway notes that somebody did not authenticate. That goes to the log and a counter, not to the trail: such a caller
// belongs to no org, and could fill for free what must be durable.
func (s *Service) turnedAway(ctx context.Context, cred Credential, err error) error {
	if ReasonOf(err) != InvalidClient {
		return err
	}
	if left, ok := s.strangers.take("", s.cfg.Now()); ok {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "client authentication failed", slog.Any("credential", cred),
			slog.String("remote_ip", cred.RemoteIP.String()), slog.Uint64("not_logged_before", left), slog.Any("error", err),
			slog.Any("cause", errors.Unwrap(err))) // which the caller is not told
	}
	return err
}

// valve lets so many events of each key through, and counts the rest. Keys are clients that authenticated, so there are no
// more of them than registered agents.
type valve struct {
	limit rate.Limit
	burst int

	mu   sync.Mutex
	keys map[string]*throttled
}

type throttled struct {
	limiter *rate.Limiter
	left    uint64 // since the last that went through
}

func newValve(perSecond rate.Limit, burst int) *valve {
	return &valve{limit: perSecond, burst: burst, keys: map[string]*throttled{}}
}

// take reports whether an event goes through and, if so, how many did not since the last that did.
func (v *valve) take(key string, now time.Time) (left uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.keys[key]
	if t == nil {
		t = &throttled{limiter: rate.NewLimiter(v.limit, v.burst)}
		v.keys[key] = t
	}
	if !t.limiter.AllowN(now, 1) {
		t.left++
		return 0, false
	}
	left, t.left = t.left, 0
	return left, true
}
