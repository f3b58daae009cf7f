package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// ClientStore is one org's clients. PutClient MUST answer store.ErrConflict unless the version is the stored one plus 1, and
// DeleteClient store.ErrNotFound unless it is the stored one.
type ClientStore interface {
	Client(ctx context.Context, name string) (store.Client, error)
	Clients(ctx context.Context, after string, limit int) ([]store.Client, error)
	PutClient(ctx context.Context, c store.Client) error
	DeleteClient(ctx context.Context, name string, version int64) error
}

// ClientsConfig is what Clients are made of. All fields are required.
type ClientsConfig struct {
	Org       func(delegation.OrgID) ClientStore
	Providers *Catalog
	Vault     Vault
	Now       func() time.Time
}

// Clients keeps the clients of all orgs: their registrations at providers, and at issuers where their users sign in.
type Clients struct{ ClientsConfig }

// NewClients makes Clients.
func NewClients(c ClientsConfig) (*Clients, error) {
	if c.Org == nil || c.Providers == nil || c.Vault == nil || c.Now == nil {
		return nil, errors.New("connection: ClientsConfig needs every field")
	}
	return &Clients{c}, nil
}

// Registration is a client to be stored.
type Registration struct {
	Name     string // of the provider, or IssuerClient
	ClientID string
	Secret   []byte // empty for a public client
	Settings map[string]string
}

// ClientProposal is a registration that was checked against what there is.
type ClientProposal struct {
	Before store.Client // version 0: there is none
	After  store.Client // without its secret
	secret []byte
}

const maxClientID = 512

// Propose checks a registration, and says what storing it would come to. Errors that are about it wrap ErrInvalid.
func (c *Clients) Propose(ctx context.Context, org delegation.OrgID, r Registration) (ClientProposal, error) {
	if r.ClientID == "" || len(r.ClientID) > maxClientID || !fieldValue(r.ClientID) {
		return ClientProposal{}, fmt.Errorf("%w: client_id must be 1 to %d printable ASCII characters", ErrInvalid, maxClientID)
	}
	if len(r.Secret) > vault.MaxSecret || len(r.Secret) > 0 && (len(r.Secret) < minSecret || !fieldValue(string(r.Secret))) {
		return ClientProposal{}, fmt.Errorf("%w: secret must be %d to %d printable ASCII characters (is there a newline at its end?)",
			ErrInvalid, minSecret, vault.MaxSecret)
	}
	if err := c.check(ctx, org, r); err != nil {
		return ClientProposal{}, err
	}
	after := store.Client{
		Name: r.Name, ClientID: r.ClientID, Settings: r.Settings, Version: 1, Updated: c.Now().UTC().Truncate(time.Microsecond),
	}
	before, err := c.Org(org).Client(ctx, r.Name)
	switch {
	case err == nil:
		after.Version = before.Version + 1
	case !errors.Is(err, store.ErrNotFound):
		return ClientProposal{}, fmt.Errorf("connection: read: %w", err)
	}
	if len(r.Secret) > 0 {
		after.Sealed = []byte("sealed when stored") // that there will be one
	}
	return ClientProposal{before, after, r.Secret}, nil
}

// check holds a registration against the provider's record, or the issuer's URL.
func (c *Clients) check(ctx context.Context, org delegation.OrgID, r Registration) error {
	if issuer, ok := strings.CutPrefix(r.Name, IssuerClient("")); ok {
		if _, err := delegation.UserID(org, issuer, "x"); err != nil {
			return fmt.Errorf("%w: name must be issuer/NAME, with the name of one of the org's issuers", ErrInvalid)
		}
		if _, why := endpointURL(r.Settings["issuer"]); why != "" || len(r.Settings) != 1 {
			return fmt.Errorf("%w: settings must be issuer alone, its URL as in `iss`", ErrInvalid)
		}
		return nil
	}
	p, ok, err := c.Providers.Provider(ctx, org, r.Name)
	switch {
	case err != nil:
		return err
	case !ok || p.oauth == nil:
		return fmt.Errorf("%w: name must be a provider at which accounts are connected by OAuth, or issuer/NAME", ErrInvalid)
	case p.AuthenticatesClient() && len(r.Secret) == 0:
		return fmt.Errorf("%w: provider %s authenticates its clients: secret is needed", ErrInvalid, p.name)
	}
	return p.CheckSettings(false, r.Settings)
}

// Put stores what was proposed. store.ErrConflict says that the client is not as it was then.
func (c *Clients) Put(ctx context.Context, org delegation.OrgID, p ClientProposal) (err error) {
	row := p.After
	row.Sealed = nil
	if len(p.secret) > 0 {
		if row.Sealed, err = c.Vault.Seal(ctx, org, vault.ForClient(row.Name), row.Version, vault.NewCredential("", p.secret)); err != nil {
			return err
		}
	}
	return c.Org(org).PutClient(ctx, row)
}

// Get is one client, or store.ErrNotFound.
func (c *Clients) Get(ctx context.Context, org delegation.OrgID, name string) (store.Client, error) {
	return c.Org(org).Client(ctx, name)
}

// Page lists by name the org's clients after one, at most limit.
func (c *Clients) Page(ctx context.Context, org delegation.OrgID, after string, limit int) ([]store.Client, error) {
	return c.Org(org).Clients(ctx, after, limit)
}

// Delete deletes a client of a version.
func (c *Clients) Delete(ctx context.Context, org delegation.OrgID, name string, version int64) error {
	return c.Org(org).DeleteClient(ctx, name, version)
}
