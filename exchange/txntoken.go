package exchange

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// replacement is a transaction token that takes the place of another (TT5). It is no exchange of authority: the chain stays.
const replacement hop = "replacement"

// maxContext is the longest request_context or request_details, in bytes.
const maxContext = 4 << 10

// txnSubject is a verified transaction token of ours, to be replaced (TT5).
type txnSubject struct{ token delegation.Transaction }

// txnSubject verifies a subject_token that is a transaction token of ours.
func (s *Service) txnSubject(ctx context.Context, c caller, token string, _ time.Time) (Subject, error) {
	v, err := s.cfg.Tokens.VerifyTransaction(ctx, token)
	switch {
	case errors.Is(err, delegation.ErrType):
		return Subject{}, badSubject(flaw("it is not a transaction token of this server"))
	case err != nil:
		return Subject{}, badSubject(s.verdict(ctx, err))
	}
	claims := v.Claims()
	if claims.OrgID != c.org.ID() { // TX24
		return Subject{}, denied("the subject_token is of another org")
	}
	return Subject{claims: claims, txn: &txnSubject{v}}, nil
}

// checkTxn checks the shape of a request for a transaction token (TT3).
func checkTxn(w *Want, r *Request) *Error {
	replaces := r.SubjectTokenType == TypeTxnToken
	switch {
	case r.SubjectTokenType == TypeJWT:
		return invalid("subject_token_type", "a transaction token is made of %s, %s or %s", TypeAccessToken, TypeIDToken, TypeTxnToken)
	case w.AnyScope:
		return invalid("scope", "scope is missing: it says what the transaction is for")
	case len(r.Resource) > 0:
		return refuse(InvalidTarget, "resource", nil,
			"a transaction token is for a trust domain: name it as audience, and leave resource out")
	case replaces && r.ActorToken != "":
		return invalid("actor_token", "a replacement keeps its actors: leave actor_token out")
	case replaces && r.AuthorizationDetails != "":
		return invalid("authorization_details", "a replacement keeps what it says: leave authorization_details out")
	case replaces && r.RequestContext != "":
		return invalid("request_context", "a replacement keeps its context: leave request_context out")
	case replaces && r.RequestDetails != "":
		return invalid("request_details", "a replacement keeps its details: leave request_details out")
	}
	if err := checkAlone(r, "a transaction token"); err != nil {
		return err
	}
	var err *Error
	if w.RequestContext, err = readContext("request_context", r.RequestContext, r); err != nil {
		return err
	}
	w.RequestDetails, err = readContext("request_details", r.RequestDetails, r)
	return err
}

// readContext reads one JSON object with one meaning, and puts it into its canonical form, in which nothing hides in escapes: a
// transaction token never has the access token in it (TT6).
func readContext(name, raw string, r *Request) ([]byte, *Error) {
	if raw == "" {
		return nil, nil
	}
	malformed := invalid(name, "%s must be one JSON object of at most %d bytes, without a name twice", name, maxContext)
	var members map[string]jsontext.Value
	if len(raw) > maxContext || jose.Decode([]byte(raw), &members) != nil || members == nil {
		return nil, malformed
	}
	canonical := jsontext.Value(raw)
	if canonical.Canonicalize() != nil || len(canonical) > maxContext {
		return nil, malformed
	}
	for _, token := range []string{r.SubjectToken, r.ActorToken} {
		if token != "" && strings.Contains(string(canonical), token) {
			return nil, invalid(name, "%s has a token in it, which whoever reads the transaction token would have too", name)
		}
	}
	return canonical, nil
}

// txnTarget is the org's trust domain.
func (f *Facts) txnTarget() (string, error) {
	domain := f.Org.TransactionDomain()
	switch {
	case domain == "":
		return "", invalid("requested_token_type",
			"the org has no transaction tokens: set transaction_tokens.trust_domain in its configuration")
	case len(f.Want.Names) != 1 || f.Want.Names[0] != domain:
		return "", refuse(InvalidTarget, "", nil, "audience must be the org's trust domain")
	}
	return domain, nil
}

// replaceTxn decides on the replacement of a transaction token: the same transaction, subject, audience and chain, and never a
// wider scope or a longer life (TT5). Policy is asked as if the workload took the transaction over.
func (f *Facts) replaceTxn() (Approval, error) {
	c := &f.Subject.claims
	switch {
	case f.Client.Off(f.Now) != "":
		return Approval{}, denied("agent %s is %s", f.Client.Name, f.Client.Off(f.Now))
	case f.Actor != f.Client:
		return Approval{}, denied("a replacement is for the client itself")
	case f.Client.Org != f.Org.ID() || c.OrgID != f.Org.ID():
		return Approval{}, denied("the subject_token is of another org")
	}
	if err := f.chainStands(); err != nil {
		return Approval{}, err
	}
	audience, err := f.txnTarget()
	if err != nil {
		return Approval{}, err
	}
	if audience != c.Audience {
		return Approval{}, refuse(SubjectTokenInvalid, "subject_token", nil, "subject_token: it is of another trust domain")
	}
	as := handOver
	if c.Actor.Subject == f.Client.ID {
		as = continuation
	}
	granted, seen, err := f.judge(as, audience)
	if err != nil {
		return Approval{}, err
	}
	if !bytes.Equal(granted.details.JSON(), c.AuthorizationDetails) { // they are kept as they are, or not at all
		e := refusedDetails(nil, "policy refuses the agent some of the authorization_details that a replacement keeps")
		e.evidence = seen
		return Approval{}, e
	}
	u, err := f.Subject.txn.token.Replace(delegation.Replacement{
		Org: f.Org.ID(), Workload: f.Client.ID, Scope: granted.scope, ID: f.TokenID, Now: f.Now, Life: f.life(),
	})
	if err != nil {
		return Approval{}, unlawful(err, seen)
	}
	return f.approve(u, replacement, seen)
}
