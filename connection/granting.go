package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// BeginGrant sends a signed-in browser to the provider.
func (c *Connector) BeginGrant(ctx context.Context, org delegation.OrgID, id, browser string) (redirect string, err error) {
	a, m, err := c.open(ctx, org, id)
	if err != nil {
		return "", err
	}
	if !m.SignedIn || !ownBrowser(a, browser) {
		return "", ErrStep
	}
	p, conn, err := c.of(ctx, org, a)
	if err != nil {
		return "", err
	}
	m.Attempt = newAttempt()
	err = lendClient(ctx, c.Org(org), c.Vault, org, p.name, func(client Client) (err error) {
		client.Settings = merged(conn.Settings, client.Settings)
		redirect, err = p.AuthorizeURL(client, Ask{
			Scopes: a.Scopes, State: state(org, id, m.Attempt), Challenge: oauth2.S256ChallengeFromVerifier(m.Attempt.Verifier), RedirectURI: RedirectURI(c.Origin),
		})
		return err
	})
	if errors.Is(err, ErrNoClient) {
		return "", c.end(ctx, org, a, StatusFailed, "operator_config: the org has no client at "+p.name)
	}
	if err != nil {
		return "", err
	}
	return redirect, c.save(ctx, org, a, m)
}

// finishGrant spends the provider's code, and stores what it gives.
func (c *Connector) finishGrant(
	ctx context.Context, org delegation.OrgID, a store.Authorization, m memory, sent attempt, answer Answer,
) error {
	p, conn, err := c.of(ctx, org, a)
	if errors.Is(err, ErrLink) {
		return c.end(ctx, org, a, StatusFailed, "the connection was deleted meanwhile")
	}
	if err != nil {
		return err
	}
	if err := p.CheckIssuer(answer.Issuer); err != nil {
		return c.end(ctx, org, a, StatusFailed, "the answer did not come from "+p.title)
	}
	switch {
	case answer.Error == "access_denied":
		return c.end(ctx, org, a, StatusDenied, "access was denied at "+p.title)
	case answer.Error != "" || answer.Code == "":
		return c.end(ctx, org, a, StatusFailed, "operator_config: "+p.title+" refuses the request")
	}
	// Who connected what is on record before there is anything to connect.
	if err := c.record(ctx, org, a, a.Subject, audit.OutcomeApproved, "", "connect an account"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), persistFor) // a code is spent once: its grant must not be lost
	defer cancel()
	var grant Grant
	var got answered
	var settings map[string]string
	err = lendClient(ctx, c.Org(org), c.Vault, org, p.name, func(client Client) error {
		client.Settings = merged(conn.Settings, client.Settings)
		settings = client.Settings
		r, err := p.CodeRequest(ctx, client, answer.Code, sent.Verifier, RedirectURI(c.Origin))
		if err == nil {
			grant, got = c.Keeper.send(r, p, OAuth)
		}
		return err
	})
	switch {
	case err != nil:
		return c.end(ctx, org, a, StatusFailed, lendError(err).reason())
	case !got.grant:
		out := outcomeOf(got.refusal)
		return c.end(ctx, org, a, StatusFailed, out.reason())
	}
	return c.keep(ctx, org, a, p, conn, grant, merged(settings, grant.Settings))
}

// keep stores a new grant in its connection, which may be in use meanwhile.
func (c *Connector) keep(
	ctx context.Context, org delegation.OrgID, a store.Authorization, p Provider, conn store.Connection, grant Grant, settings map[string]string,
) error {
	defer clear(grant.Access)
	defer clear(grant.Refresh)
	credential := vault.NewGrant(grant.Access, grant.Refresh)
	account, settings, err := c.probe(ctx, p, OAuth, credential, settings)
	if err != nil {
		if !Holds(conn) { // else to revoke it could end what there is
			conn.Account = grant.Account
			c.Keeper.letGo(ctx, org, p, conn, credential)
		}
		return c.end(ctx, org, a, StatusFailed, strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "))
	}
	if account == "" {
		account = grant.Account
	}
	scopes := grant.Scopes
	if scopes == nil {
		scopes = a.Scopes // RFC 6749 section 5.1: as asked for
	}
	now := c.Now().UTC().Truncate(time.Microsecond)
	missing := p.Missing(scopes, a.Scopes)
	put := func(current store.Connection) error {
		if current.Account != "" && account != "" && current.Account != account {
			return errOtherAccount
		}
		next := current
		next.Version++
		next.Status, next.StatusReason, next.Account, next.Scopes, next.Settings = StatusActive, "", account, scopes, settings
		if len(missing) > 0 {
			next.StatusReason = "granted without " + strings.Join(missing, " ")
		}
		next.Hint, next.Updated, next.Expires = hint(grant.Access, OAuth), now, grant.Expires.UTC().Truncate(time.Microsecond)
		refresh, err := c.refreshToken(ctx, org, current, grant.Refresh, account)
		if err != nil {
			return err
		}
		next.Renew = renewAt(now, grant.Expires, refresh != nil).UTC().Truncate(time.Microsecond)
		next.Due = due(now, p.oauth, refresh != nil, grant.RefreshExpires).UTC().Truncate(time.Microsecond)
		if next.Sealed, err = c.Vault.Seal(ctx, org, next.ID, next.Version, vault.NewGrant(grant.Access, refresh)); err != nil {
			return err
		}
		return c.Org(org).PutConnection(ctx, next, current.Status)
	}
	for err = put(conn); errors.Is(err, store.ErrConflict); err = put(conn) {
		if conn, err = c.Org(org).Connection(ctx, conn.ID); err != nil {
			break
		}
	}
	conn.Subject, conn.Account = a.Subject, account // the new grant's, whatever there was
	switch {
	case errors.Is(err, errOtherAccount):
		c.Keeper.letGo(ctx, org, p, conn, credential)
		return c.end(ctx, org, a, StatusFailed, "it was another account of yours at "+p.title+" before: connect this one under a name of its own")
	case errors.Is(err, store.ErrNotFound):
		c.Keeper.letGo(ctx, org, p, conn, credential)
		return c.end(ctx, org, a, StatusFailed, "the connection was deleted meanwhile")
	case err != nil:
		return errors.Join(err, c.end(ctx, org, a, StatusFailed, "the account could not be stored"))
	}
	return c.end(ctx, org, a, StatusActive, strings.Join(missing, " "))
}

// refreshToken is what a new grant is kept alive with: its own, or, when it brought none, the one that there is. That is so only for what
// is known to be the same account: one account's access with another's refresh token would act as either.
func (c *Connector) refreshToken(
	ctx context.Context, org delegation.OrgID, current store.Connection, granted []byte, account string,
) (refresh []byte, err error) {
	if granted != nil || !Holds(current) || account == "" || current.Account != account {
		return granted, nil
	}
	refresh, err = c.Keeper.refreshToken(ctx, org, current)
	if errors.Is(err, vault.ErrDestroyed) || len(refresh) == 0 {
		return nil, nil
	}
	return refresh, err
}

var errOtherAccount = errors.New("connection: another account")

// Key is what a user enters on our page.
type Key struct {
	Username string
	Secret   []byte
	Settings map[string]string
}

// EnterKey stores a user's own key or password. Errors that wrap ErrInvalid say what to correct, and the page may be sent again.
func (c *Connector) EnterKey(ctx context.Context, org delegation.OrgID, id, browser string, k Key) error {
	defer clear(k.Secret)
	a, m, err := c.open(ctx, org, id)
	if err != nil {
		return err
	}
	if !m.SignedIn || !ownBrowser(a, browser) {
		return ErrStep
	}
	p, conn, err := c.of(ctx, org, a)
	if err != nil {
		return err
	}
	if pattern := Pattern(conn.Pattern); pattern != APIKey && pattern != Basic {
		return ErrStep
	}
	link := Link{
		ID: conn.ID, Provider: p.name, Pattern: Pattern(conn.Pattern), Subject: a.Subject, Settings: k.Settings,
		Credential: vault.NewCredential(k.Username, k.Secret),
	}
	proposal, err := c.Links.Propose(ctx, org, link)
	if err != nil {
		return err
	}
	account, _, err := c.probe(ctx, p, link.Pattern, link.Credential, k.Settings)
	if err != nil {
		return err
	}
	if account != "" {
		proposal.After.Account = account
	}
	if err := c.record(ctx, org, a, a.Subject, audit.OutcomeApproved, "", "connect an account by a key of one's own"); err != nil {
		return err
	}
	if err := c.Links.Put(ctx, org, proposal); errors.Is(err, store.ErrConflict) {
		return ErrStep
	} else if err != nil {
		return err
	}
	return c.end(ctx, org, a, StatusActive, "")
}

// probe asks the provider whose a new credential is, as the record says. One that the provider does not take is refused; that the
// provider does not answer now is not the credential's fault.
func (c *Connector) probe(
	ctx context.Context, p Provider, pattern Pattern, credential vault.Credential, settings map[string]string,
) (account string, found map[string]string, err error) {
	r, err := p.ProbeRequest(ctx, settings)
	if err != nil || r == nil {
		return "", settings, err
	}
	if err := p.AuthorizeProbe(r, pattern, credential); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	response, err := c.HTTP.Do(r.WithContext(ctx))
	var body []byte
	status := 0
	if err == nil {
		defer response.Body.Close()
		body, _ = readAll(response.Body, MaxTokenAnswer) // without it the status still says whether the credential is good
		status = response.StatusCode
	}
	account, found, accepted := p.ReadProbe(status, body, NewScrubber(credential))
	if !accepted && pattern != OAuth {
		return "", nil, fmt.Errorf("%w: %s does not accept it", ErrInvalid, p.title)
	}
	found = merged(settings, found)
	for name, s := range p.settings {
		if (s.From == fromProbe || s.From == fromGrant) && found[name] == "" && s.Default == "" && !s.pattern.MatchString("") {
			return "", nil, fmt.Errorf("%w: %s does not say its %s: try again", ErrInvalid, p.title, name)
		}
	}
	return account, found, nil
}
