package connection

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/oauth2"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// The statuses of an authorization, besides StatusPending, StatusActive and StatusExpired. All but pending are final.
const (
	StatusDenied = "denied" // the user, or the provider, said no
	StatusFailed = "failed" // it could not be done; the reason says who can help
)

const (
	// AuthorizationLife is how long a link is good.
	AuthorizationLife = 15 * time.Minute
	// MaxWait is the longest wait for an authorization.
	MaxWait = time.Minute
	// maxAccounts bounds a user's accounts at one provider: an agent can begin as many as it likes.
	maxAccounts = 50
	// waitPoll is how often a waiting caller's authorization is looked at.
	waitPoll = 250 * time.Millisecond
)

// Wish is what an agent asks its user for.
type Wish struct {
	Subject    string // whose account: a user
	Agent      string // who asks; empty: an administrator
	Provider   string
	Connection string   // an existing one to be connected again, or a name for a new one; empty: the one that there is, or a new one
	Scopes     []string // of the provider's record
}

// Authorizations is one org's attempts to connect accounts.
type Authorizations interface {
	Authorization(ctx context.Context, id string) (store.Authorization, error)
	PutAuthorization(ctx context.Context, a store.Authorization) error
}

// ConnectorStore is one org's part of the store, as accounts are connected.
type ConnectorStore interface {
	KeeperStore
	Authorizations
	ConnectionsFor(ctx context.Context, provider, subject string) ([]store.Connection, error)
	Theme(ctx context.Context) (store.Theme, error)
}

// Identifier says who an ID token is, by the org's own rules. An error that wraps ErrNobody says that it is nobody; any other that
// nobody can say now.
type Identifier interface {
	Identify(ctx context.Context, org delegation.OrgID, token, clientID, nonce string) (subject string, err error)
}

// Recorder writes the audit trail. A nil error MUST mean that the record is durable.
type Recorder interface {
	Record(ctx context.Context, r audit.Record) error
}

// ConnectorConfig is what a Connector is made of. Every field is required.
type ConnectorConfig struct {
	Org       func(delegation.OrgID) ConnectorStore
	Providers *Catalog
	Links     *Links
	Vault     Vault
	Keeper    *Keeper
	Identify  Identifier
	HTTP      *http.Client // an egress client
	Origin    string       // where our pages are: scheme and host
	Audit     Recorder
	Now       func() time.Time
	Log       *slog.Logger
}

// Connector connects accounts: a user opens a link, proves to be the user whom it is for, and grants access at the provider or enters
// a key. It is safe for many goroutines, and any process of those that share the store may serve any step.
type Connector struct {
	ConnectorConfig
	issuers issuers

	mu    sync.Mutex
	links map[string]offer // of Reconnect
}

// offer is a link that was made a moment ago.
type offer struct {
	id      string
	url     string
	expires time.Time
}

// NewConnector makes a Connector.
func NewConnector(c ConnectorConfig) (*Connector, error) {
	if c.Org == nil || c.Providers == nil || c.Links == nil || c.Vault == nil || c.Keeper == nil || c.Identify == nil || c.HTTP == nil || c.Origin == "" ||
		c.Audit == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("connection: ConnectorConfig needs every field")
	}
	return &Connector{ConnectorConfig: c, links: map[string]offer{}}, nil
}

// The reasons for which a step is refused. Compare with errors.Is. Their texts may be shown.
var (
	// ErrNobody: an ID token that is nobody's.
	ErrNobody = errors.New("the sign-in is not one of the organization's")
	// ErrLink: there is no such link, or it has ended.
	ErrLink = errors.New("the link is not good, or not any more")
	// ErrNotYours: somebody else has opened the link.
	ErrNotYours = errors.New("the link is for somebody else")
	// ErrStep: the step does not follow from the one before, or is another browser's.
	ErrStep = errors.New("this step belongs to another browser, or was done already")
)

// CallbackPath is where providers and issuers send browsers back to.
const CallbackPath = "/connect/callback"

// RedirectURI is what an org registers with its client, at providers and at its issuers.
func RedirectURI(origin string) string { return strings.TrimSuffix(origin, "/") + CallbackPath }

// Authorized is an authorization as its asker sees it.
type Authorized struct {
	ID         string
	Status     string
	Reason     string
	Connection string
	URL        string // empty when nothing is to be opened
	Expires    time.Time
}

func (c *Connector) authorized(org delegation.OrgID, a store.Authorization) Authorized {
	out := Authorized{ID: a.ID, Status: a.Status, Reason: a.Reason, Connection: a.Connection, Expires: a.Expires}
	if a.Status == StatusPending {
		if c.Now().After(a.Expires) {
			out.Status, out.Reason = StatusExpired, "nobody finished it in time"
		} else {
			out.URL = c.url(org, a.ID)
		}
	}
	return out
}

func (c *Connector) url(org delegation.OrgID, id string) string {
	return strings.TrimSuffix(c.Origin, "/") + "/connect/" + string(org) + "." + id
}

// Authorize begins to connect an account, or finds that it is connected and has what is wished for. Errors that are about the wish
// wrap ErrInvalid.
func (c *Connector) Authorize(ctx context.Context, org delegation.OrgID, w Wish) (Authorized, error) {
	of, _, _, err := delegation.ParseUserID(w.Subject)
	if err != nil || of != org {
		return Authorized{}, fmt.Errorf("%w: only a user of the org can connect an account; a service account's credential is set by an "+
			"administrator", ErrInvalid)
	}
	p, ok, err := c.Providers.Provider(ctx, org, w.Provider)
	if err != nil {
		return Authorized{}, err
	}
	if !ok || !p.Connectable() {
		return Authorized{}, fmt.Errorf("%w: provider %q is not one at which a user connects an account", ErrInvalid, cut(w.Provider, 64))
	}
	for _, s := range w.Scopes {
		if !slices.Contains(p.scopes, s) {
			return Authorized{}, fmt.Errorf("%w: %q is not among the scopes of provider %s", ErrInvalid, cut(s, 128), p.name)
		}
	}
	conn, err := c.target(ctx, org, p, w)
	if err != nil {
		return Authorized{}, err
	}
	wanted := p.ScopesFor(OAuth, w.Scopes)
	if conn.Status == StatusActive && (Pattern(conn.Pattern) != OAuth || len(p.Missing(conn.Scopes, wanted)) == 0) {
		return Authorized{Status: StatusActive, Connection: conn.ID}, nil
	}
	if err := c.prepared(ctx, org, p, w.Subject); err != nil {
		return Authorized{}, err
	}
	now := c.Now().UTC().Truncate(time.Microsecond)
	a := store.Authorization{
		ID: rand.Text(), Connection: conn.ID, Provider: p.name, Subject: w.Subject, Status: StatusPending, Version: 1, Agent: w.Agent,
		Scopes: wanted, Created: now, Expires: now.Add(AuthorizationLife),
	}
	if !p.incremental() { // a grant of fewer scopes would take the place of one of more
		a.Scopes = union(wanted, conn.Scopes)
	}
	if conn.Version == 0 {
		conn = store.Connection{
			ID: conn.ID, Provider: p.name, Pattern: string(p.userPattern()), Subject: w.Subject, Status: StatusPending,
			StatusReason: "waits for its user", Version: 1, Created: now, Updated: now,
		}
		if err := c.Org(org).PutConnection(ctx, conn, ""); err != nil {
			return Authorized{}, err
		}
	}
	if err := c.Org(org).PutAuthorization(ctx, a); err != nil {
		return Authorized{}, err
	}
	return c.authorized(org, a), nil
}

// prepared reports whether the org has the clients that the steps need: a link that leads nowhere helps nobody.
func (c *Connector) prepared(ctx context.Context, org delegation.OrgID, p Provider, subject string) error {
	_, issuer, _, err := delegation.ParseUserID(subject)
	if err != nil {
		return err
	}
	names := []string{IssuerClient(issuer)}
	if p.userPattern() == OAuth {
		names = append(names, p.name)
	}
	for _, name := range names {
		_, err := c.Org(org).Client(ctx, name)
		if errors.Is(err, store.ErrNotFound) {
			return noClient(name)
		}
		if err != nil {
			return fmt.Errorf("connection: read: %w", err)
		}
	}
	return nil
}

// target is the connection that a wish is about: version 0 for a new one.
func (c *Connector) target(ctx context.Context, org delegation.OrgID, p Provider, w Wish) (store.Connection, error) {
	conns, err := c.Org(org).ConnectionsFor(ctx, p.name, w.Subject)
	if err != nil {
		return store.Connection{}, fmt.Errorf("connection: read: %w", err)
	}
	conns = slices.DeleteFunc(conns, func(c store.Connection) bool { return c.Subject != w.Subject })
	full := len(conns) >= maxAccounts
	conns = slices.DeleteFunc(conns, func(c store.Connection) bool { return w.Connection != "" && c.ID != w.Connection })
	switch {
	case len(conns) == 0 && full:
		return store.Connection{}, fmt.Errorf("%w: the user has %d accounts at %s already: delete one", ErrInvalid, maxAccounts, p.name)
	case len(conns) == 1:
		return conns[0], nil
	case len(conns) > 1:
		ids := make([]string, len(conns))
		for i, c := range conns {
			ids[i] = c.ID
		}
		return store.Connection{}, fmt.Errorf("%w: the user has several accounts at %s: name one, or a new one: %s", ErrInvalid, p.name,
			strings.Join(ids[:min(len(ids), 10)], ", "))
	case w.Connection == "":
		return store.Connection{ID: p.name + "-" + strings.ToLower(rand.Text()[:10])}, nil
	case !ValidID(w.Connection):
		return store.Connection{}, fmt.Errorf("%w: connection must be 1 to 63 of [a-z0-9-], with no hyphen at either end", ErrInvalid)
	}
	switch _, err := c.Org(org).Connection(ctx, w.Connection); {
	case errors.Is(err, store.ErrNotFound):
		return store.Connection{ID: w.Connection}, nil
	case err != nil:
		return store.Connection{}, fmt.Errorf("connection: read: %w", err)
	}
	return store.Connection{}, fmt.Errorf("%w: connection %q cannot be had: choose another name", ErrInvalid, w.Connection)
}

// Reconnect is the link for a wish. For some minutes it is the same, so that an agent that tries again and again does not make a link
// each time.
func (c *Connector) Reconnect(ctx context.Context, org delegation.OrgID, w Wish) (string, error) {
	key := func() string {
		return strings.Join(append([]string{string(org), w.Subject, w.Agent, w.Provider, w.Connection}, w.Scopes...), "\x00")
	}
	now := c.Now()
	c.mu.Lock()
	known, ok := c.links[key()]
	c.mu.Unlock()
	if ok && now.Before(known.expires) {
		if a, err := c.Org(org).Authorization(ctx, known.id); err == nil && a.Status == StatusPending { // else it leads nowhere any more
			return known.url, nil
		}
	}
	a, err := c.Authorize(ctx, org, w)
	if err != nil || a.URL == "" {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.links) >= 10_000 {
		clear(c.links)
	}
	made := offer{a.ID, a.URL, now.Add(AuthorizationLife / 3)}
	c.links[key()] = made
	w.Connection = a.Connection // by which the next call finds what was begun here
	c.links[key()] = made
	return a.URL, nil
}

// Wait returns an authorization of a subject when it is final, or as it is when the time is up. store.ErrNotFound says that the
// subject has none of the id.
func (c *Connector) Wait(ctx context.Context, org delegation.OrgID, subject, id string, most time.Duration) (Authorized, error) {
	end := time.NewTimer(min(max(most, 0), MaxWait))
	defer end.Stop()
	for {
		a, err := c.Org(org).Authorization(ctx, id)
		if err == nil && subject != "" && a.Subject != subject {
			err = store.ErrNotFound
		}
		if err != nil {
			return Authorized{}, err
		}
		out := c.authorized(org, a)
		if out.Status != StatusPending {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return Authorized{}, ctx.Err()
		case <-end.C:
			return out, nil
		case <-time.After(waitPoll):
		}
	}
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// memory is what the steps of an authorization must remember. It is sealed for the org: a copy of the database has no verifier in it.
type memory struct {
	SignedIn bool    `json:"signed_in"`
	Attempt  attempt `json:"attempt"` // that the browser is at: a sign-in, or when signed in, a grant
}

// attempt is one trip of the browser to another server.
type attempt struct {
	State    string `json:"state,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"`
}

func newAttempt() attempt {
	return attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
}

// open reads a pending authorization and what it remembers. ErrLink says that there is none.
func (c *Connector) open(ctx context.Context, org delegation.OrgID, id string) (store.Authorization, memory, error) {
	a, err := c.Org(org).Authorization(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Authorization{}, memory{}, ErrLink
	}
	if err != nil {
		return store.Authorization{}, memory{}, fmt.Errorf("connection: read: %w", err)
	}
	if a.Status != StatusPending || c.Now().After(a.Expires) {
		return a, memory{}, ErrLink
	}
	var m memory
	if len(a.Sealed) == 0 {
		return a, m, nil
	}
	sealed := store.Connection{ID: vault.ForAuthorization(id), Version: a.Version, Sealed: a.Sealed}
	err = c.Vault.Use(ctx, org, sealed, func(text vault.Credential) error { return jose.DecodeClosed(text.Reveal(), &m) })
	if errors.Is(err, vault.ErrDestroyed) || errors.Is(err, vault.ErrOpen) {
		return a, m, ErrLink
	}
	return a, m, err
}

// save stores the next version of an authorization. store.ErrConflict says that another step was faster.
func (c *Connector) save(ctx context.Context, org delegation.OrgID, a store.Authorization, m memory) error {
	a.Version++
	text, err := jose.Encode(m)
	if err != nil {
		return err
	}
	a.Sealed = nil
	if a.Status == StatusPending {
		if a.Sealed, err = c.Vault.Seal(ctx, org, vault.ForAuthorization(a.ID), a.Version, vault.NewCredential("", text)); err != nil {
			return err
		}
	}
	return c.Org(org).PutAuthorization(ctx, a)
}

// record puts what a user did, or somebody tried, on the trail.
func (c *Connector) record(ctx context.Context, org delegation.OrgID, a store.Authorization, who, outcome, reason, detail string) error {
	return c.Audit.Record(ctx, audit.Record{
		ActionID: string(org) + "." + uuid.NewString(), Kind: audit.KindAdmin, Outcome: outcome, Reason: reason, Org: org, Time: c.Now(),
		Subject: a.Subject, Administrator: who, Role: "user", Connection: a.Connection, Resource: a.Provider,
		ScopeAsked: a.Scopes, Detail: detail,
	})
}
