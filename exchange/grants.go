package exchange

import (
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// grantAllowed refuses a grant that is not known, or that the agent is not registered for (TE10). A password grant is not known
// and never will be (TE16).
func (f *Facts) grantAllowed() error {
	var name string
	switch f.Grant {
	case "", GrantType:
		name = registry.GrantTokenExchange
	case GrantClientCredentials:
		name = registry.GrantClientCredentials
	case GrantJWTBearer:
		name = registry.GrantJWTBearer
	default:
		return refuse(UnsupportedGrantType, "", nil, "grant_type must be one of %s, %s, %s",
			GrantType, GrantClientCredentials, GrantJWTBearer)
	}
	if !f.Client.Grant(name) {
		return refuse(UnauthorizedClient, "", nil, "agent %s is not registered for the grant %s", f.Client.Name, name)
	}
	return nil
}

// maxServiceLife is how long a service account's first token lives: nobody signed in, so nothing else ends it.
const maxServiceLife = 5 * time.Minute

// serviceLogin is the subject of client_credentials (RFC 6749 §4.4): the service account that the agent is registered for. The
// agent is its actor, so that no token acts by itself (TX18). sub is the account, which owns what is acted on (AT3).
func (s *Service) serviceLogin(c caller, now time.Time) (*login, error) {
	name := c.client.Registration.ServiceAccount
	account, ok := c.org.ServiceAccount(name)
	if !ok {
		return nil, refuse(UnauthorizedClient, "", nil, "agent %s is registered for no service account", c.client.Name)
	}
	return &login{
		subject: delegation.Subject{
			ID: delegation.ServiceID(c.org.ID(), account.Name), Groups: account.Groups, Expiry: now.Add(maxServiceLife),
		},
		issuedAt: now, service: account,
	}, nil
}

// registered is the widest that a first hop can be: what the agent is registered for and, of that, what its service account
// has, what the assertion names, and what the org lets be asserted at the other authorization server.
func (f *Facts) registered() (delegation.Scopes, error) {
	widest := f.Actor.Scopes
	if account := f.Subject.login.service; account != nil {
		own, err := delegation.NewScopes(account.Scopes...)
		if err != nil {
			return delegation.Scopes{}, refuse(Internal, "", err, "")
		}
		widest = widest.Intersect(own)
	}
	if named := f.Subject.login.scope; named != nil {
		widest = widest.Intersect(*named)
	}
	if f.Want.IssuedType == TypeIDJAG {
		server, err := f.authorizationServer()
		if err != nil {
			return delegation.Scopes{}, err
		}
		there, bad := delegation.NewScopes(server.Scopes...)
		if bad != nil {
			return delegation.Scopes{}, refuse(Internal, "", bad, "")
		}
		widest = widest.Intersect(there)
	}
	return widest, nil
}

// bounds says what a first hop asks beyond of.
func (f *Facts) bounds() string {
	text := "agent " + f.Actor.Name + " is not registered for"
	if f.Subject.login.service != nil {
		text += ", or its service account is not"
	}
	if f.Subject.login.scope != nil {
		text += ", or the assertion does not name"
	}
	if f.Want.IssuedType == TypeIDJAG {
		text += ", or the org does not let it be asserted at that authorization server"
	}
	return text
}

// checkFormat checks what kind of token is asked for, and that the request has what that kind needs. What a kind cannot say is
// refused, never dropped. It comes after the subject, the targets and the scope were read.
func checkFormat(w *Want, r *Request) *Error {
	w.IssuedType = r.RequestedTokenType
	if w.IssuedType == "" {
		w.IssuedType = TypeAccessToken
	}
	if w.IssuedType != TypeTxnToken {
		switch {
		case r.SubjectTokenType == TypeTxnToken: // TT6: it is a credential for nothing
			return invalid("requested_token_type",
				"a transaction token is good only for its replacement: requested_token_type must be %s", TypeTxnToken)
		case r.RequestContext != "":
			return invalid("request_context", "request_context is for transaction tokens: requested_token_type must be %s", TypeTxnToken)
		case r.RequestDetails != "":
			return invalid("request_details", "request_details is for transaction tokens: requested_token_type must be %s", TypeTxnToken)
		}
	}
	exchanged := r.grant() == GrantType
	switch {
	case w.IssuedType == TypeAccessToken, w.IssuedType == TypeJWT:
		return nil
	case w.IssuedType == TypeIDJAG && exchanged:
		return checkIDJAG(w, r)
	case w.IssuedType == TypeTxnToken && exchanged:
		return checkTxn(w, r)
	case w.IssuedType == TypeIDJAG, w.IssuedType == TypeTxnToken:
		return invalid("requested_token_type", "tokens of that type come of token exchange: grant_type must be %s", GrantType)
	}
	return invalid("requested_token_type", "requested_token_type must be one of %s", // TX11: never another type in silence
		strings.Join([]string{TypeAccessToken, TypeJWT, TypeIDJAG, TypeTxnToken}, ", "))
}

// checkAlone refuses what neither an ID-JAG nor a transaction token can say.
func checkAlone(r *Request, what string) *Error {
	switch {
	case len(r.Audience) != 1:
		return refuse(InvalidTarget, "audience", nil, "%s needs exactly one audience", what)
	case r.MayAct != "":
		return invalid("may_act", "nobody can pick %s up: leave may_act out", what)
	}
	return nil
}

// formatTarget is the audience of a token that is for no resource of ours: another authorization server, or a trust domain.
// ours reports that the token is for a resource, which Facts.target finds; audience is empty then.
func (f *Facts) formatTarget() (audience string, ours bool, err error) {
	switch f.Want.IssuedType {
	case TypeIDJAG:
		audience, err = f.idjagTarget()
	case TypeTxnToken:
		audience, err = f.txnTarget()
	default:
		return "", true, f.notElsewhere()
	}
	return audience, false, err
}

// notElsewhere refuses an access token for what is no resource. Identity chaining with another authorization server goes by
// ID-JAG alone, whose profile says how the user and the client are known there (JG2).
func (f *Facts) notElsewhere() error {
	for _, name := range f.Want.Names {
		if _, ok := f.Org.AuthorizationServer(name); ok {
			return refuse(InvalidTarget, "audience", nil,
				"audience is another authorization server: ask for a grant for it with the requested_token_type %s", TypeIDJAG)
		}
		if domain := f.Org.TransactionDomain(); domain != "" && name == domain {
			return refuse(InvalidTarget, "audience", nil,
				"audience is a trust domain: ask for a transaction token with the requested_token_type %s", TypeTxnToken)
		}
	}
	return nil
}

// format makes the kind of token that was asked for of the approved one. It is the last thing that Decide does.
func (f *Facts) format(u delegation.Unsigned) (delegation.Unsigned, error) {
	if l := f.Subject.login; l != nil && len(l.resources) > 0 && !slices.Contains(l.resources, u.Claims().Audience) {
		return delegation.Unsigned{}, refuse(InvalidTarget, "", nil, "the assertion is not for that resource")
	}
	var err error
	switch f.Want.IssuedType {
	case TypeIDJAG:
		u, err = f.idjag(u)
	case TypeTxnToken:
		u, err = u.TransactionToken(delegation.TransactionToken{
			Workload: f.Client.ID, Context: f.Want.RequestContext, Details: f.Want.RequestDetails,
		})
	}
	if err != nil {
		return delegation.Unsigned{}, unlawful(err, evidence{})
	}
	return u, nil
}
