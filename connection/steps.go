package connection

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// Step is how far an authorization is, for a browser.
type Step string

// The steps.
const (
	StepSignIn Step = "sign_in" // the browser has to show who it is
	StepGrant  Step = "grant"   // its user may go on to the provider
	StepKey    Step = "key"     // its user may enter a key
	StepDone   Step = "done"    // it is final
)

// Page is what a page shows of an authorization. Before the sign-in it says nothing of whose it is.
type Page struct {
	Org      delegation.OrgID
	Theme    store.Theme
	ID       string
	Step     Step
	Status   string
	Reason   string
	Provider string // its title
	Agent    string
	Account  string    // at a reconnection: what it is called at the provider
	Subject  string    // after the sign-in only
	Allows   []string  // what the record says of the scopes, for people
	Basic    bool      // the key is a name and a password
	Settings []Setting // that the user has to say
	Goes     string    // the host that the next step leads to
}

// View is an authorization as a browser sees it. browser is its cookie's value, empty when it has none.
func (c *Connector) View(ctx context.Context, org delegation.OrgID, id, browser string) (Page, error) {
	page, err := c.view(ctx, org, id, browser)
	if err != nil {
		return Page{}, err
	}
	page.Theme, err = c.Org(org).Theme(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) { // a page is better plain than not at all
		c.Log.WarnContext(ctx, "an org's theme cannot be read", "org", org, "error", err)
	}
	return page, nil
}

func (c *Connector) view(ctx context.Context, org delegation.OrgID, id, browser string) (Page, error) {
	a, m, err := c.open(ctx, org, id)
	if errors.Is(err, ErrLink) && a.ID != "" && ownBrowser(a, browser) { // its own end may be shown
		out := c.authorized(org, a)
		p, _, _ := c.Providers.Provider(ctx, org, a.Provider)
		return Page{Org: org, ID: id, Step: StepDone, Status: out.Status, Reason: out.Reason, Provider: p.title}, nil
	}
	if err != nil {
		return Page{}, err
	}
	p, conn, err := c.of(ctx, org, a)
	if err != nil {
		return Page{}, err
	}
	page := Page{Org: org, ID: id, Step: StepSignIn, Status: a.Status, Provider: p.title, Agent: a.Agent}
	if !m.SignedIn || !ownBrowser(a, browser) {
		return page, nil
	}
	page.Subject, page.Account, page.Allows = a.Subject, conn.Account, p.allows(a.Scopes)
	if page.Step = StepGrant; Pattern(conn.Pattern) != OAuth {
		page.Step, page.Basic, page.Settings = StepKey, Pattern(conn.Pattern) == Basic, p.Settings(true)
	}
	return page, nil
}

// of is the provider and the connection of an authorization.
func (c *Connector) of(ctx context.Context, org delegation.OrgID, a store.Authorization) (Provider, store.Connection, error) {
	p, ok, err := c.Providers.Provider(ctx, org, a.Provider)
	if err != nil {
		return Provider{}, store.Connection{}, err
	}
	conn, err := c.Org(org).Connection(ctx, a.Connection)
	if errors.Is(err, store.ErrNotFound) || !ok {
		return Provider{}, store.Connection{}, ErrLink
	}
	return p, conn, err
}

// ownBrowser reports whether a cookie is that of the browser that is at an authorization.
func ownBrowser(a store.Authorization, browser string) bool {
	sum := sha256.Sum256([]byte(browser))
	return browser != "" && subtle.ConstantTimeCompare(sum[:], a.Browser) == 1
}

// BeginSignIn sends a browser to the issuer of the user whom the link is for. It gets the cookie that makes it this authorization's
// browser: a sign-in that another browser began does not count here (threat: somebody finishes at the provider what another began).
func (c *Connector) BeginSignIn(ctx context.Context, org delegation.OrgID, id string) (redirect, browser string, err error) {
	a, _, err := c.open(ctx, org, id)
	if err != nil {
		return "", "", err
	}
	browser = random(32)
	sum := sha256.Sum256([]byte(browser))
	a.Browser = sum[:]
	m := memory{Attempt: newAttempt()}
	err = c.withIssuer(ctx, org, a.Subject, func(s signIn) (err error) {
		redirect, err = s.url(m.Attempt, state(org, id, m.Attempt), RedirectURI(c.Origin))
		return err
	})
	if err != nil {
		return "", "", err
	}
	return redirect, browser, c.save(ctx, org, a, m)
}

// state is what other servers send back: which authorization, and which attempt of it.
func state(org delegation.OrgID, id string, a attempt) string {
	return string(org) + "." + id + "." + a.State
}

// ParseState splits what state made. It proves nothing: only the attempt that remembers it does.
func ParseState(text string) (org delegation.OrgID, id string, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(text) > 256 {
		return "", "", false
	}
	org, err := delegation.ParseOrgID(parts[0])
	return org, parts[1], err == nil
}

// Answer is what another server sent back with the browser (RFC 6749 section 4.1.2, RFC 9207).
type Answer struct {
	State, Code, Error, Issuer string
}

// Finish takes the answer of an issuer or a provider. Each answer is taken once, from the browser that was sent.
func (c *Connector) Finish(ctx context.Context, answer Answer, browser string) (org delegation.OrgID, id string, err error) {
	org, id, ok := ParseState(answer.State)
	if !ok {
		return "", "", ErrLink
	}
	a, m, err := c.open(ctx, org, id)
	if err != nil {
		return org, id, err
	}
	expected := m.Attempt
	if expected.State == "" || subtle.ConstantTimeCompare([]byte(answer.State), []byte(state(org, id, expected))) != 1 || !ownBrowser(a, browser) {
		return org, id, ErrStep
	}
	// The attempt is over before its code is spent: whoever brings the same answer again finds nothing.
	m.Attempt = attempt{}
	if err := c.save(ctx, org, a, m); err != nil {
		if errors.Is(err, store.ErrConflict) {
			err = ErrStep
		}
		return org, id, err
	}
	a.Version++
	if m.SignedIn {
		return org, id, c.finishGrant(ctx, org, a, m, expected, answer)
	}
	return org, id, c.finishSignIn(ctx, org, a, expected, answer)
}

// finishSignIn finds out who has signed in. Only the user whom the link is for goes on; that somebody else tried is on the trail.
func (c *Connector) finishSignIn(ctx context.Context, org delegation.OrgID, a store.Authorization, sent attempt, answer Answer) error {
	var subject string
	err := c.withIssuer(ctx, org, a.Subject, func(s signIn) error {
		switch {
		case answer.Issuer != "" && answer.Issuer != s.Issuer, answer.Issuer == "" && s.Iss:
			return fmt.Errorf("%w: the answer is another server's (RFC 9207)", ErrNobody)
		case answer.Error != "" || answer.Code == "":
			return fmt.Errorf("%w: the issuer sent no code", ErrNobody)
		}
		token, err := c.idToken(ctx, s, sent, answer.Code)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNobody, err)
		}
		subject, err = c.Identify.Identify(ctx, org, token, s.client.ID, sent.Nonce)
		return err
	})
	if errors.Is(err, ErrNobody) {
		c.Log.WarnContext(ctx, "a sign-in to connect an account was refused", "org", org, "authorization", a.ID, "error", err)
		return errors.Join(ErrNobody, c.record(ctx, org, a, "nobody", audit.OutcomeRefused, "SIGN_IN_REFUSED", "sign in to connect an account"))
	}
	if err != nil {
		return err
	}
	if subject != a.Subject {
		err := c.record(ctx, org, a, subject, audit.OutcomeRefused, "NOT_THE_USER", "opened the link of another user to connect an account")
		return errors.Join(ErrNotYours, err)
	}
	return c.save(ctx, org, a, memory{SignedIn: true})
}

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
			Scopes: a.Scopes, State: state(org, id, m.Attempt), Challenge: m.Attempt.challenge(), RedirectURI: RedirectURI(c.Origin),
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

// end makes an authorization final.
func (c *Connector) end(ctx context.Context, org delegation.OrgID, a store.Authorization, status, reason string) error {
	outcome := audit.OutcomeFailed
	if status == StatusActive {
		outcome = audit.OutcomeSucceeded
	}
	a.Status, a.Reason = status, cut(reason, 300)
	err := c.save(ctx, org, a, memory{})
	for errors.Is(err, store.ErrConflict) { // somebody opened the link meanwhile: what was done is done all the same
		current, readErr := c.Org(org).Authorization(ctx, a.ID)
		if readErr != nil || current.Status != StatusPending {
			break
		}
		current.Status, current.Reason = a.Status, a.Reason
		err = c.save(ctx, org, current, memory{})
	}
	return errors.Join(err, c.record(ctx, org, a, a.Subject, outcome, "", "connect an account: "+cut(status+" "+reason, 300)))
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
		next.Renew = renewAt(now, grant.Expires, grant.Refresh != nil).UTC().Truncate(time.Microsecond)
		next.Due = due(now, p.oauth, grant.Refresh != nil, grant.RefreshExpires).UTC().Truncate(time.Microsecond)
		var err error
		if next.Sealed, err = c.Vault.Seal(ctx, org, next.ID, next.Version, credential); err != nil {
			return err
		}
		return c.Org(org).PutConnection(ctx, next, current.Status)
	}
	for err = put(conn); errors.Is(err, store.ErrConflict); err = put(conn) {
		if conn, err = c.Org(org).Connection(ctx, conn.ID); err != nil {
			break
		}
	}
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
	links := Links{LinksConfig{
		Org: func(org delegation.OrgID) Store { return c.Org(org) }, Providers: c.Providers, Vault: sealOnly{c.Vault}, Now: c.Now,
	}}
	link := Link{
		ID: conn.ID, Provider: p.name, Pattern: Pattern(conn.Pattern), Subject: a.Subject, Settings: k.Settings,
		Credential: vault.NewCredential(k.Username, k.Secret),
	}
	proposal, err := links.Propose(ctx, org, link)
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
	if err := links.Put(ctx, org, proposal); errors.Is(err, store.ErrConflict) {
		return ErrStep
	} else if err != nil {
		return err
	}
	return c.end(ctx, org, a, StatusActive, "")
}

// sealOnly is a vault for Links that end nothing.
type sealOnly struct{ Vault }

func (sealOnly) Shred(context.Context, delegation.OrgID) error {
	return errors.New("connection: not here")
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
		body, status = readSmall(response), response.StatusCode
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

// allows are the descriptions of the scopes that a grant of the provider's scopes is for.
func (p Provider) allows(granted []string) []string {
	var out []string
	if p.oauth == nil {
		for _, s := range slices.Sorted(maps.Keys(p.described)) {
			out = append(out, p.described[s])
		}
		return out
	}
	for _, ours := range p.scopes {
		if needs, said := p.oauth.scopes.needs[ours]; said && len(p.Missing(granted, needs)) == 0 {
			out = append(out, p.described[ours])
		}
	}
	return out
}

// Connectable reports whether a user can connect an account on our pages.
func (p Provider) Connectable() bool { return p.userPattern() != "" }

// userPattern is how a user connects: by a grant where the provider has it, else by a key of one's own.
func (p Provider) userPattern() Pattern {
	for _, pattern := range []Pattern{OAuth, APIKey, Basic} {
		if p.Supports(pattern) {
			return pattern
		}
	}
	return ""
}

func (p Provider) incremental() bool { return p.oauth != nil && p.oauth.incremental }

// readSmall reads an answer that should be small; nil when it is not.
func readSmall(response *http.Response) []byte {
	body, err := readAll(response.Body, MaxTokenAnswer)
	if err != nil {
		return nil
	}
	return body
}
