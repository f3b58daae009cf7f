package exchange

import (
	"context"
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// Subject is a verified subject_token: a token of ours, or what an identity provider said about a user. It is one or the
// other by its claims, never by what the request calls it.
type Subject struct {
	parent delegation.Verified // ours; zero when login is set
	claims delegation.Claims   // of parent
	login  *login              // theirs; nil when parent is set
}

// login is a verified token of a trusted issuer.
type login struct {
	subject  delegation.Subject
	rawSub   string    // the issuer's own sub
	issuedAt time.Time // what a revocation is compared with
	mayAct   *mayAct   // who its issuer lets act, or nil
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

// subject verifies the subject_token by the rules of its type (TX6).
func (s *Service) subject(ctx context.Context, c caller, req Request, now time.Time) (Subject, error) {
	if req.SubjectTokenType == TypeAccessToken {
		v, err := s.cfg.Tokens.Verify(ctx, req.SubjectToken)
		if err == nil {
			return Subject{parent: v, claims: v.Claims()}, nil
		}
		return Subject{}, badSubject(s.verdict(ctx, err))
	}
	label := registry.TokenTypeID
	if req.SubjectTokenType == TypeJWT {
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
		claims.Subject, claims.SessionID, claims.IssuedAt = l.subject.ID, l.subject.SessionID, l.issuedAt
	} else {
		p := &f.Subject.claims
		claims.Subject, claims.SessionID, claims.IssuedAt = p.Subject, p.SessionID, p.IssuedAt
	}
	err := s.cfg.Revocations.Check(&claims, f.Now)
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
