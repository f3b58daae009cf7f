package exchange

import (
	"context"
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// Subject is on whose behalf is acted, as it was verified: a token of ours, or what starts a chain. It is one or the other by
// its claims, never by what the request calls it.
type Subject struct {
	parent delegation.Verified // ours; zero when login or txn is set
	claims delegation.Claims   // of parent
	login  *login              // what starts a chain; nil otherwise
	txn    *txnSubject         // a transaction token of ours, to be replaced; nil otherwise
}

// login is what starts a chain: a verified token of a trusted issuer, or a service account of the org's.
type login struct {
	subject  delegation.Subject
	rawSub   string                   // the issuer's own sub, or its subject_claim
	issuedAt time.Time                // what a revocation is compared with
	mayAct   *mayAct                  // who its issuer lets act, or nil
	bound    *delegation.Confirmation // the key that whoever presents it must prove, or nil
	audience []string                 // all of aud
	party    string                   // whom it was issued to: the aud, or of several the azp
	azp      string                   // whom it says that it was issued to, or nothing
	nonce    string                   // of the authentication request that it answers, or nothing
	profile  string                   // what it was verified as: registry.TokenTypeID, TokenTypeJWT, ...
	service  *registry.ServiceAccount // of client_credentials; nil for a user

	scope     *delegation.Scopes // all that an assertion says it is for; nil when it does not say
	resources []string           // the same; none when it does not say
}

// mayAct are the identity members of a foreign may_act (RFC 8693 §4.4). Members that we do not know are kept, because each
// of them must match (TX17).
type mayAct map[string]any

// names reports whether every member identifies the agent.
func (m mayAct) names(agent *registry.Client, issuer string) bool {
	for name, value := range m {
		switch {
		case name == "iss" && value == issuer:
		case name == "sub" && value == agent.ID:
		case name == "client_id" && value == agent.ClientID:
		default:
			return false
		}
	}
	return len(m) > 0 && (m["sub"] != nil || m["client_id"] != nil)
}

// subject finds out on whose behalf is acted, and holds a user's login against the org's directory.
func (s *Service) subject(ctx context.Context, c caller, req *Request, now time.Time) (Subject, error) {
	found, err := s.presented(ctx, c, req, now)
	if err == nil && found.login != nil && found.login.service == nil {
		found.login, err = s.enrolled(ctx, c.org, found.login)
		err = badSubject(err)
	}
	return found, err
}

// presented is the subject as the request presents it, by what the grant takes it from.
func (s *Service) presented(ctx context.Context, c caller, req *Request, now time.Time) (Subject, error) {
	switch req.grant() {
	case GrantClientCredentials:
		l, err := s.serviceLogin(c, now)
		return Subject{login: l}, err
	case GrantJWTBearer:
		l, err := s.assertedLogin(ctx, c, req.Assertion, now)
		return Subject{login: l}, err
	}
	return s.subjectToken(ctx, c, req, now)
}

// subjectToken verifies the subject_token by the rules of its type (TX6).
func (s *Service) subjectToken(ctx context.Context, c caller, req *Request, now time.Time) (Subject, error) {
	label := registry.TokenTypeID
	switch req.SubjectTokenType {
	case TypeAccessToken:
		v, err := s.cfg.Tokens.Verify(ctx, req.SubjectToken)
		if err == nil {
			return Subject{parent: v, claims: v.Claims()}, nil
		}
		return Subject{}, badSubject(s.verdict(ctx, err))
	case TypeTxnToken:
		return s.txnSubject(ctx, c, req.SubjectToken, now)
	case TypeJWT:
		label = registry.TokenTypeJWT
	}
	l, err := s.issuers.verify(ctx, c.org, req.SubjectToken, label, now)
	if err != nil {
		return Subject{}, badSubject(err)
	}
	return Subject{login: l}, nil
}

// badSubject turns a flaw into a refusal, and leaves other errors alone.
func badSubject(err error) error {
	if f, ok := errors.AsType[flaw](err); ok {
		return refuse(SubjectTokenInvalid, "subject_token", err, "subject_token: %v", f)
	}
	return err
}

// unrevoked holds what is revoked against everybody who would be in the new token, as of the time at which the subject_token
// was issued. So nothing that is older than a revocation can bring back what was revoked: an orchestrator whose tokens were
// revoked cannot exchange the user's old ID token again. Only a new login can (or none, once the agent is disabled).
func (s *Service) unrevoked(ctx context.Context, c caller, f *Facts) error {
	claims := delegation.Claims{
		OrgID: c.org.ID(), ClientID: c.client.ClientID, Actor: &delegation.Actor{Issuer: f.Issuer, Subject: f.Actor.ID},
	}
	if l := f.Subject.login; l != nil {
		claims.Subject, claims.SessionID = l.subject.ID, l.subject.SessionID
		claims.IssuedAt, claims.SubjectIssuedAt = l.issuedAt, l.subject.IssuedAt
	} else {
		p := &f.Subject.claims
		claims.Subject, claims.SessionID = p.Subject, p.SessionID
		claims.IssuedAt, claims.SubjectIssuedAt = p.IssuedAt, p.SubjectIssuedAt
	}
	return s.alive(ctx, &claims, f)
}

// alive holds claims against what is revoked. What would be issued is held against it too, whole, with its scopes and lineage:
// a token that every verifier refuses is not signed.
func (s *Service) alive(ctx context.Context, claims *delegation.Claims, f *Facts) error {
	err := s.cfg.Revocations.Check(claims, f.Now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, delegation.ErrRevoked):
		return refuse(SubjectTokenInvalid, "subject_token", err,
			"subject_token: it is older than a revocation of its subject, its session, the agent, the client or the org")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return unavailable(err, "revocations cannot be checked now")
}
