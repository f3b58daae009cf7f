package connection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// The reasons why a connection cannot be stored or chosen. Compare with errors.Is.
var (
	// ErrNoConnection: the subject has none for the provider, or none of the id that was asked for.
	ErrNoConnection = errors.New("connection: the subject has no such connection")
	// ErrSeveral: there is more than one, so the caller must name one.
	ErrSeveral = errors.New("connection: there are several; name one")
	// ErrRevoked: the connection was revoked.
	ErrRevoked = errors.New("connection: the connection is revoked")
	// ErrExpired: the connection has lived its time.
	ErrExpired = errors.New("connection: the connection has expired")
	// ErrInvalid: what was to be stored is no connection. The text says what to do.
	ErrInvalid = errors.New("connection: invalid")
)

// The statuses of a connection.
const (
	StatusPending      = "pending"       // a user was asked to connect it and has not yet
	StatusActive       = "active"        // it can be spent
	StatusNeedsConsent = "needs_consent" // the provider wants the user again before it goes on
	StatusRevoked      = "revoked"       // ended here or at the provider; there is no credential any more
	StatusExpired      = "expired"       // it has lived its time; there is no credential any more
	StatusError        = "error"         // it cannot be spent, and the reason says who can help
)

// ReasonShredded is why a connection ended whose org's data key is no more.
const ReasonShredded = "the org's data key was destroyed"

// minSecret is the shortest secret. A shorter one could not be told from ordinary text, so it could not be kept out of what
// comes back from a provider.
const minSecret = 8

// Store is one org's connections. PutConnection MUST answer store.ErrConflict unless the version is the stored one plus 1.
type Store interface {
	Connection(ctx context.Context, id string) (store.Connection, error)
	Connections(ctx context.Context, after string, limit int) ([]store.Connection, error) // by id
	// was is the status before; a change of it is noted with the same write.
	PutConnection(ctx context.Context, c store.Connection, was string) error
	// DeleteConnection MUST answer store.ErrConflict when the version is another; 0 stands for any.
	DeleteConnection(ctx context.Context, id string, version int64, now time.Time) error
}

// Sealer is the vault as connections are stored.
type Sealer interface {
	Seal(ctx context.Context, org delegation.OrgID, connection string, version int64, c vault.Credential) ([]byte, error)
	Shred(ctx context.Context, org delegation.OrgID) error
}

// LinksConfig is what Links are made of. All fields are required.
type LinksConfig struct {
	Org       func(delegation.OrgID) Store
	Providers *Catalog
	Vault     Sealer
	Now       func() time.Time
}

// Links keeps the connections of all orgs.
type Links struct{ LinksConfig }

// NewLinks makes Links.
func NewLinks(c LinksConfig) (*Links, error) {
	if c.Org == nil || c.Providers == nil || c.Vault == nil || c.Now == nil {
		return nil, errors.New("connection: LinksConfig needs every field")
	}
	return &Links{c}, nil
}

// Link is a connection to be stored.
type Link struct {
	ID         string // 1 to 63 of [a-z0-9-]
	Provider   string
	Pattern    Pattern
	Subject    string // empty for a pattern that the org shares, else whose it is
	Credential vault.Credential
	Settings   map[string]string // that the record asks for
}

// ValidID reports whether text can be a connection's id: 1 to 63 of [a-z0-9-], with no hyphen at either end.
func ValidID(text string) bool { return connectionID.MatchString(text) }

// Check says what is wrong with a link. Errors that are about it wrap ErrInvalid.
func (l *Links) Check(ctx context.Context, org delegation.OrgID, k Link) error {
	if !connectionID.MatchString(k.ID) {
		return fmt.Errorf("%w: connection must be 1 to 63 of [a-z0-9-], with no hyphen at either end", ErrInvalid)
	}
	providers, err := l.Providers.Providers(ctx, org)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(providers, func(p Provider) bool { return p.name == k.Provider })
	if i < 0 {
		return fmt.Errorf("%w: provider %q is not one of the org's", ErrInvalid, cut(k.Provider, 64))
	}
	if !providers[i].Supports(k.Pattern) {
		return fmt.Errorf("%w: provider %s does not take pattern %q", ErrInvalid, k.Provider, cut(string(k.Pattern), 64))
	}
	if k.Pattern == OAuth {
		return fmt.Errorf("%w: pattern oauth is connected by its user: start an authorization", ErrInvalid)
	}
	if err := owner(org, k); err != nil {
		return err
	}
	if err := providers[i].checkLinkSettings(k.Settings); err != nil {
		return err
	}
	if n := len(k.Credential.Reveal()); n < minSecret || n > vault.MaxSecret {
		return fmt.Errorf("%w: secret must have %d to %d bytes", ErrInvalid, minSecret, vault.MaxSecret)
	}
	if k.Pattern == ServiceAccount {
		return providers[i].checkAccount(k)
	}
	if !providers[i].auth[k.Pattern].carries(string(k.Credential.Reveal())) {
		return fmt.Errorf("%w: secret must be printable ASCII to travel in a header (is there a newline at its end?)", ErrInvalid)
	}
	if (k.Pattern == Basic) != (k.Credential.Username() != "") {
		return fmt.Errorf("%w: username is for basic, and basic needs one", ErrInvalid)
	}
	if strings.Contains(k.Credential.Username(), ":") {
		return fmt.Errorf("%w: username must not hold a colon (RFC 7617)", ErrInvalid)
	}
	return nil
}

// owner checks whose a connection is: nobody's when the org shares it, else a user or a service account of this very org.
func owner(org delegation.OrgID, k Link) error {
	if k.Pattern.Shared() {
		if k.Subject != "" {
			return fmt.Errorf("%w: subject must be empty for %s, which the whole org shares", ErrInvalid, k.Pattern)
		}
		return nil
	}
	of, _, _, err := delegation.ParseUserID(k.Subject)
	if err != nil {
		of, _, err = delegation.ParseServiceID(k.Subject)
	}
	if err != nil {
		return fmt.Errorf("%w: subject must be whose it is, such as user:%s/okta|00u1 or service:%s/reporting", ErrInvalid, org, org)
	}
	if of != org {
		return fmt.Errorf("%w: subject must be a user or a service account of org %s", ErrInvalid, org)
	}
	return nil
}

// Proposal is a link that was checked against what there is.
type Proposal struct {
	Before     store.Connection // version 0: there is none
	After      store.Connection // without its credential
	credential vault.Credential
}

// Propose checks a link, and says what storing it would come to. A change of provider, pattern or owner is refused: policies and
// audit records speak of a connection by its id.
func (l *Links) Propose(ctx context.Context, org delegation.OrgID, k Link) (Proposal, error) {
	if p, ok, err := l.Providers.Provider(ctx, org, k.Provider); err == nil && ok && k.Pattern == ServiceAccount {
		if k.Credential, err = p.ServiceKey(k.Credential.Username(), k.Credential.Reveal()); err != nil {
			return Proposal{}, err
		}
	}
	if err := l.Check(ctx, org, k); err != nil {
		return Proposal{}, err
	}
	now := l.Now().UTC().Truncate(time.Microsecond)
	c := store.Connection{
		ID: k.ID, Provider: k.Provider, Pattern: string(k.Pattern), Subject: k.Subject,
		Status: StatusActive, Version: 1, Created: now, Updated: now, Settings: k.Settings,
		Account: cut(k.Credential.Username(), 120), Hint: hint(k.Credential.Reveal(), k.Pattern),
	}
	old, err := l.Org(org).Connection(ctx, k.ID)
	switch {
	case err == nil:
		if old.Provider != c.Provider || old.Pattern != c.Pattern || old.Subject != c.Subject {
			return Proposal{}, fmt.Errorf("%w: connection %q exists with another provider, pattern or subject; delete it first",
				ErrInvalid, k.ID)
		}
		c.Version, c.Created = old.Version+1, old.Created
	case !errors.Is(err, store.ErrNotFound):
		return Proposal{}, fmt.Errorf("connection: read: %w", err)
	}
	return Proposal{Before: old, After: c, credential: k.Credential}, nil
}

// Put stores what was proposed, with its credential. store.ErrConflict says that the connection is not as it was then.
func (l *Links) Put(ctx context.Context, org delegation.OrgID, p Proposal) (err error) {
	c := p.After
	if c.Sealed, err = l.Vault.Seal(ctx, org, c.ID, c.Version, p.credential); err != nil {
		return err
	}
	if err := l.Org(org).PutConnection(ctx, c, p.Before.Status); err != nil {
		return fmt.Errorf("connection: store: %w", err)
	}
	return nil
}

// Get is one connection, or store.ErrNotFound.
func (l *Links) Get(ctx context.Context, org delegation.OrgID, id string) (store.Connection, error) {
	return l.Org(org).Connection(ctx, id)
}

// Page lists by id the org's connections after one, at most limit, which is at most store.MaxPage.
func (l *Links) Page(ctx context.Context, org delegation.OrgID, after string, limit int) ([]store.Connection, error) {
	return l.Org(org).Connections(ctx, after, limit)
}

// List are all the org's connections in id order.
func (l *Links) List(ctx context.Context, org delegation.OrgID) (all []store.Connection, err error) {
	for c, err := range each(ctx, l.Org(org)) {
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// each goes through all of an org's connections in id order, or to the first error.
func each(ctx context.Context, s Store) iter.Seq2[store.Connection, error] {
	return func(yield func(store.Connection, error) bool) {
		for after := ""; ; {
			page, err := s.Connections(ctx, after, store.MaxPage)
			if err != nil {
				yield(store.Connection{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
				after = c.ID
			}
			if len(page) < store.MaxPage {
				return
			}
		}
	}
}

// End marks a connection as revoked and destroys its credential. store.ErrConflict says that it is not as c any more.
func (l *Links) End(ctx context.Context, org delegation.OrgID, c store.Connection, reason string) error {
	was := c.Status
	c = Ended(c, reason)
	c.Updated = l.Now().UTC().Truncate(time.Microsecond)
	if err := l.Org(org).PutConnection(ctx, c, was); err != nil {
		return fmt.Errorf("connection: end: %w", err)
	}
	return nil
}

// Delete deletes a connection of a version, 0 for any, with its credential. store.ErrNotFound says that there was none,
// store.ErrConflict that it has another version.
func (l *Links) Delete(ctx context.Context, org delegation.OrgID, id string, version int64) error {
	return l.Org(org).DeleteConnection(ctx, id, version, l.Now().UTC().Truncate(time.Microsecond))
}

// Shred destroys the org's data key, then marks the connections, whose credentials nobody can open any more. It returns how
// many there were. An error after the key is gone leaves them marked active, and just as dead.
func (l *Links) Shred(ctx context.Context, org delegation.OrgID) (int, error) {
	conns, err := l.List(ctx, org)
	if err != nil {
		return 0, fmt.Errorf("connection: read: %w", err)
	}
	if err := l.Vault.Shred(ctx, org); err != nil {
		return 0, err
	}
	lost := 0
	for _, c := range conns {
		if !Holds(c) {
			continue
		}
		lost++
		if err := l.endShredded(ctx, org, c); err != nil {
			return lost, fmt.Errorf("connection: the data key is destroyed, but a connection could not be marked: %w", err)
		}
	}
	return lost, nil
}

// endShredded marks a connection whose credential is destroyed, also when a refresh that ran meanwhile has given it another one: what
// came of a grant of before the shredding goes with it.
func (l *Links) endShredded(ctx context.Context, org delegation.OrgID, c store.Connection) error {
	for {
		err := l.End(ctx, org, c, ReasonShredded)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		put := c.Updated
		if c, err = l.Org(org).Connection(ctx, c.ID); errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if !Holds(c) || c.Updated.After(put) { // ended by others, or put anew by its user
			return nil
		}
	}
}

// Holds reports whether a connection has a credential.
func Holds(c store.Connection) bool { return len(c.Sealed) > 0 }

// Ended is a connection as revoked, without its credential.
func Ended(c store.Connection, reason string) store.Connection {
	c.Sealed, c.Status, c.StatusReason, c.Version = nil, StatusRevoked, reason, c.Version+1
	c.Expires, c.Renew, c.Due = time.Time{}, time.Time{}, time.Time{}
	return c
}

// hint is the end of a secret, for people to tell one from another: at most 4 characters, and none of a short one, nor of a password
// or a private key.
func hint(secret []byte, pattern Pattern) string {
	if pattern == Basic || pattern == ServiceAccount || len(secret) < 20 || !fieldValue(string(secret)) {
		return ""
	}
	return "…" + string(secret[len(secret)-4:])
}

// spendable reports whether a connection may still have something to spend. One whose user the provider wants again may, until its
// access token expires.
func spendable(c store.Connection) bool {
	return Holds(c) && (c.Status == StatusActive || c.Status == StatusNeedsConsent || c.Status == StatusError)
}

// Choose picks the connection that a token may spend: the provider's, of this subject (EX7) or shared by the org. The
// subject's own come first; the org's are for those who have none. id names one when there are several, and never reaches
// another user's. conns are those of the token's org, and of no other. With ErrRevoked and ErrExpired comes the connection that is not good
// any more, and with ErrNoConnection the one that its user was asked for and has not finished, if any.
func Choose(conns []store.Connection, provider, subject, id string) (store.Connection, error) {
	var own, shared []store.Connection
	var pending store.Connection
	for _, c := range conns {
		if c.Provider != provider || id != "" && c.ID != id {
			continue
		}
		switch {
		case c.Subject == "" && Pattern(c.Pattern).Shared():
			shared = append(shared, c)
		case subject != "" && c.Subject == subject && c.Status == StatusPending:
			pending = c
		case subject != "" && c.Subject == subject:
			own = append(own, c)
		}
	}
	candidates := own
	if len(candidates) == 0 {
		candidates = shared
	}
	if len(candidates) == 0 {
		return pending, ErrNoConnection
	}
	active := slices.DeleteFunc(slices.Clone(candidates), func(c store.Connection) bool { return !spendable(c) })
	switch len(active) {
	case 0:
		why := ErrRevoked
		if candidates[0].Status == StatusExpired {
			why = ErrExpired
		}
		return candidates[0], fmt.Errorf("%w: %q", why, candidates[0].ID)
	case 1:
		return active[0], nil
	}
	ids := make([]string, len(active))
	for i, c := range active {
		ids[i] = c.ID
	}
	slices.Sort(ids)
	return store.Connection{}, fmt.Errorf("%w: %s", ErrSeveral, strings.Join(ids[:min(len(ids), 10)], ", "))
}
