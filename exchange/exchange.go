// Package exchange is the token endpoint: RFC 8693 for agents that act on behalf of users, and the grants that start a chain
// without an exchange.
//
// The data goes one way: raw tokens are verified, one reading of the world becomes Facts, Decide turns them into an Approval
// or a refusal, the trail has the decision, and only then is a token signed. Decide is pure; Service is the shell around it.
//
// What a request is follows from the claims of its subject_token: a login starts a chain (first hop), a token of ours
// is narrowed by its holder (continuation), handed over by its holder to an agent that an actor_token proves (delegation), or
// picked up by the agent that its may_act names (pick-up). Everything else is refused.
package exchange

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// Directory finds an org's configuration: *registry.Registry. Org MUST answer an error that wraps registry.ErrUnknownOrg
// for an org that does not exist, and MUST NOT answer from a snapshot that may be out of date.
type Directory interface {
	Org(ctx context.Context, id delegation.OrgID) (*registry.Org, error)
}

// Tokens verifies tokens of ours for whatever audience (C4): *delegation.Verifier.
type Tokens interface {
	Verify(ctx context.Context, token string) (delegation.Verified, error)
	VerifyTransaction(ctx context.Context, token string) (delegation.Transaction, error)
	VerifyAdministrator(ctx context.Context, token string) (delegation.Administrator, error)
}

// Assertions remembers what may be used once. Consume MUST answer nil to exactly one caller for a key, across replicas and
// restarts, and store.ErrConflict to every other until `until`.
type Assertions interface {
	Consume(ctx context.Context, key [32]byte, until time.Time) error
}

// Recorder is the audit trail. Record MUST NOT answer nil before the record is durable.
type Recorder interface {
	Record(ctx context.Context, r audit.Record) error
}

// Signer signs what was approved, and nothing else: *keys.Ring.
type Signer interface {
	Sign(ctx context.Context, u delegation.Unsigned) (string, error)
}

// Limits are the operator's. An org can have narrower ones.
type Limits struct {
	DefaultLife time.Duration // of a token when none is asked for; 5 minutes when zero
	MaxLife     time.Duration // 15 minutes when zero; at most 60
	MaxDepth    int           // agents in a chain; 5 when zero; at most 10
}

// Revoker puts the revocation of a token into force: on the trail, durably in the store, and on every replica by the feed.
type Revoker interface {
	RevokeToken(ctx context.Context, v delegation.Verified, clientID string) error
	SignOut(ctx context.Context, who delegation.Administrator) error
}

// Rates bound what is asked for: requests a second, each with a burst of twice as many. Zero: no bound but the org's own.
type Rates struct {
	Org    int // of all clients of an org
	Client int // of one client
}

// Config is what a Service needs. Only Limits, Algorithm, Remember and Now may be left out.
type Config struct {
	Issuer      string // ours: aud of every assertion, iss of every token
	Orgs        Directory
	Tokens      Tokens
	Revocations delegation.Revocations
	Assertions  func(delegation.OrgID) Assertions
	Audit       Recorder
	Signer      Signer
	HTTP        *http.Client // to identity providers: an egress client
	Log         *slog.Logger
	Limits      Limits
	Algorithm   jose.Algorithm // of tokens for which an org has chosen none; of the Signer
	Revoker     Revoker        // of RevokeToken; nil: tokens cannot be revoked by their clients
	Signals     Signals        // of TakeSignal; nil: no security events are taken
	Nonces      *dpop.Nonces   // that DPoP proofs must have; nil: none is demanded
	Rates       Rates
	Operators   []Operator                       // who may sign in to operate the server
	Users       func(delegation.OrgID) UserStore // of directories; nil: who is in one cannot log in
	Activity    *Activity                        // when agents last acted; nil: nobody asks
	Remember    int                              // verified logins to remember; 10,000 when zero, none when negative
	Now         func() time.Time                 // time.Now when nil
}

// Service exchanges tokens. It is safe for many goroutines.
type Service struct {
	cfg       Config
	issuers   *issuers
	senders   *issuers // of security events
	proofs    *dpop.Checker
	refusals  *valve // of the trail, by client
	strangers *valve // of the log
	throttle  *throttle
	rates     atomic.Pointer[Rates]
}

// New refuses a Config that lacks what security needs.
func New(cfg Config) (*Service, error) {
	if cfg.Issuer == "" || cfg.Orgs == nil || cfg.Tokens == nil || cfg.Revocations == nil || cfg.Assertions == nil ||
		cfg.Audit == nil || cfg.Signer == nil || cfg.HTTP == nil || cfg.Log == nil {
		return nil, errors.New("exchange: Config lacks Issuer, Orgs, Tokens, Revocations, Assertions, Audit, Signer, HTTP or Log")
	}
	var err error
	if cfg.Limits, err = cfg.Limits.complete(); err != nil {
		return nil, err
	}
	if cfg.Remember == 0 {
		cfg.Remember = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg, refusals: newValve(refusalsPerSecond, refusalsBurst), strangers: newValve(10, 100)}
	if s.throttle, err = newThrottle(); err != nil {
		return nil, err
	}
	if s.proofs, err = dpop.NewChecker(dpop.Config{Now: cfg.Now, Nonces: cfg.Nonces}); err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	s.SetRates(cfg.Rates)
	if s.senders, err = newTransmitters(cfg); err != nil {
		return nil, err
	}
	s.issuers, err = newIssuers(cfg)
	return s, err
}

// SetRates bounds what is asked for from now on.
func (s *Service) SetRates(r Rates) { s.rates.Store(&r) }

func (l Limits) complete() (Limits, error) {
	if l.MaxLife == 0 {
		l.MaxLife = 15 * time.Minute
	}
	if l.DefaultLife == 0 {
		l.DefaultLife = min(5*time.Minute, l.MaxLife)
	}
	if l.MaxDepth == 0 {
		l.MaxDepth = delegation.DefaultDepth
	}
	if l.DefaultLife < time.Second || l.DefaultLife > l.MaxLife || l.MaxLife > delegation.MaxLife ||
		l.MaxDepth < 1 || l.MaxDepth > delegation.MaxDepth {
		return l, errors.New("exchange: Limits: want 1s <= DefaultLife <= MaxLife <= 60m and 1 <= MaxDepth <= 10")
	}
	return l, nil
}

// Exchange is one token request, of whatever grant. Every error is an *Error or the context's. Repeating a request whose
// answer was lost is harmless: it issues another token, and consumes no token (TX15, GR7); an assertion and a DPoP proof are
// accepted once.
func (s *Service) Exchange(ctx context.Context, cred Credential, req Request) (Response, error) {
	// 1. Authenticate the client. Its org is the org of all that follows.
	c, err := s.authenticate(ctx, cred)
	if err != nil {
		return Response{}, s.turnedAway(ctx, cred, err)
	}
	f := &Facts{
		Issuer: s.cfg.Issuer, Limits: s.cfg.Limits, Algorithm: s.cfg.Algorithm, Now: s.cfg.Now(), Org: c.org, Client: c.client, RemoteIP: cred.RemoteIP,
		TokenID: rand.Text(), Transaction: newTransaction(), Grant: req.grant(),
	}
	// 2. Read the request: may the client use the grant, and is the shape in order.
	if err := f.grantAllowed(); err != nil {
		return s.refused(ctx, f, err)
	}
	if f.Want, err = parse(&req, c.org.DetailTypes()); err != nil {
		return s.refused(ctx, f, err)
	}
	// 3. Verify what key the client proves that it has, if any.
	var nonce string
	if f.Possession, nonce, err = s.possession(ctx, c, &cred, f.Now); err != nil {
		return s.refused(ctx, f, err)
	}
	// 4. Verify on whose behalf is acted: the subject_token by the rules of its type, or what the grant has in its place.
	if f.Subject, err = s.subject(ctx, c, &req, f.Now); err != nil {
		return s.refused(ctx, f, err)
	}
	// 5. Verify the actor_token; without one the client's own agent acts.
	actor, err := s.actor(ctx, c, &req, f.Now)
	if err != nil {
		return s.refused(ctx, f, err)
	}
	f.Actor, f.ActorKey, f.ActorSigner = actor.agent, actor.key, actor.signer
	// 6. The facts are complete: hold them against what was revoked.
	if err := s.unrevoked(ctx, c, f); err != nil {
		return s.refused(ctx, f, err)
	}
	// 7. Decide.
	approval, err := Decide(*f)
	if err == nil {
		err = s.alive(ctx, &approval.claims, f)
	}
	if err != nil {
		return s.refused(ctx, f, err)
	}
	// 8. Put the decision on the durable trail. If that fails, nothing happens.
	if err := s.cfg.Audit.Record(ctx, approval.record(ctx, f)); err != nil {
		return s.stopped(ctx, err, "the decision cannot be recorded now")
	}
	// 9. Sign, unless nobody waits any more (GR7), and answer.
	if ctx.Err() != nil {
		return Response{}, ctx.Err()
	}
	token, err := s.cfg.Signer.Sign(ctx, approval.unsigned)
	if err != nil {
		return s.stopped(ctx, err, "tokens cannot be signed now")
	}
	s.cfg.Activity.Note(f.Org.ID(), f.Client.Name, f.Now)
	if f.Actor != f.Client {
		s.cfg.Activity.Note(f.Org.ID(), f.Actor.Name, f.Now)
	}
	return approval.response(token, nonce, f), nil
}

// newTransaction is ordered by time, so that the trail's index by transaction grows at one end: with random ids each record
// dirties a page of its own, and every commit writes them all.
func newTransaction() string { return uuid.Must(uuid.NewV7()).String() }

// stopped is the end of a request for a reason that is no decision.
func (s *Service) stopped(ctx context.Context, err error, what string) (Response, error) {
	if ctx.Err() != nil {
		return Response{}, ctx.Err()
	}
	return Response{}, unavailable(err, what)
}

func (a *Approval) response(token, nonce string, f *Facts) Response {
	return Response{
		AccessToken: token, IssuedTokenType: f.Want.IssuedType, TokenType: a.tokenType(f),
		ExpiresIn: int(a.claims.Expiry.Sub(a.claims.IssuedAt) / time.Second), Scope: a.claims.Scope.String(), ActionID: f.action(),
		AuthorizationDetails: string(a.claims.AuthorizationDetails), Nonce: nonce,
	}
}

// tokenType is how the token is to be presented (TX13). A jwt that was asked for by that name is our access token all the
// same, so it has the token_type of one, while issued_token_type says what it was asked for as (TX12).
func (a *Approval) tokenType(f *Facts) string {
	switch {
	case !f.accessToken():
		return "N_A"
	case a.claims.Confirmation != nil && a.claims.Confirmation.JKT != "":
		return "DPoP" // RFC 9449 §5
	}
	return "Bearer"
}
