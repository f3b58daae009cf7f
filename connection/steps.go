package connection

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
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
	browser = rand.Text()
	sum := sha256.Sum256([]byte(browser))
	a.Browser = sum[:]
	m := memory{Attempt: newAttempt()}
	err = c.withIssuer(ctx, org, a.Subject, func(_ context.Context, s signIn) error {
		redirect = s.url(m.Attempt, state(org, id, m.Attempt))
		return nil
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
	err := c.withIssuer(ctx, org, a.Subject, func(ctx context.Context, s signIn) error {
		switch {
		case answer.Issuer != "" && answer.Issuer != s.issuer, answer.Issuer == "" && s.named:
			return fmt.Errorf("%w: the answer is another server's (RFC 9207)", ErrNobody)
		case answer.Error != "" || answer.Code == "":
			return fmt.Errorf("%w: the issuer sent no code", ErrNobody)
		}
		token, err := s.idToken(ctx, sent, answer.Code)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNobody, err)
		}
		subject, err = c.Identify.Identify(ctx, org, token, s.ClientID, sent.Nonce)
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
