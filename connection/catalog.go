package connection

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// ProviderStore is one org's own provider records, by name. PutProviders MUST replace them all at once, durably, or answer
// store.ErrConflict and change nothing when they are not those that were seen.
type ProviderStore interface {
	Providers(ctx context.Context) ([]store.ProviderRecord, error)
	PutProviders(ctx context.Context, seen, records []store.ProviderRecord) error
}

// CatalogConfig is what a Catalog is made of. Org is required.
type CatalogConfig struct {
	Org func(delegation.OrgID) ProviderStore
	// AllowLoopback accepts records whose provider is on this machine, for development.
	AllowLoopback bool
}

// Catalog finds the providers of an org: the built-in records, and the org's own, which override them by name.
type Catalog struct {
	org           func(delegation.OrgID) ProviderStore
	allowLoopback bool
	builtin       []Provider

	mu     sync.Mutex
	parsed map[delegation.OrgID]parsed
}

// parsed remembers an org's compiled records as long as their text is the same. The text is read from the store each time,
// so that what one replica applied holds for all.
type parsed struct {
	text      [sha256.Size]byte
	providers []Provider
}

const (
	maxParsed  = 1024 // orgs with records of their own in memory
	maxRecords = 100  // records of one org
)

// NewCatalog makes a Catalog.
func NewCatalog(c CatalogConfig) (*Catalog, error) {
	if c.Org == nil {
		return nil, errors.New("connection: CatalogConfig needs Org")
	}
	return &Catalog{
		org: c.Org, allowLoopback: c.AllowLoopback, builtin: Builtin(), parsed: map[delegation.OrgID]parsed{},
	}, nil
}

// Providers are the providers of an org in name order.
func (c *Catalog) Providers(ctx context.Context, org delegation.OrgID) ([]Provider, error) {
	records, err := c.org(org).Providers(ctx)
	if err != nil {
		return nil, fmt.Errorf("connection: read provider records: %w", err)
	}
	if len(records) == 0 {
		return c.builtin, nil
	}
	sum := digest(records)
	c.mu.Lock()
	known, ok := c.parsed[org]
	c.mu.Unlock()
	if ok && known.text == sum {
		return known.providers, nil
	}
	providers, err := c.Check(records)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.parsed[org]; !ok && len(c.parsed) >= maxParsed {
		for other := range c.parsed {
			delete(c.parsed, other)
			break
		}
	}
	c.parsed[org] = parsed{text: sum, providers: providers}
	return providers, nil
}

// Provider finds a provider of an org by its name.
func (c *Catalog) Provider(ctx context.Context, org delegation.OrgID, name string) (Provider, bool, error) {
	providers, err := c.Providers(ctx, org)
	if err != nil {
		return Provider{}, false, err
	}
	i := slices.IndexFunc(providers, func(p Provider) bool { return p.name == name })
	if i < 0 {
		return Provider{}, false, nil
	}
	return providers[i], true, nil
}

// Tool finds a tool of an org by its whole name.
func (c *Catalog) Tool(ctx context.Context, org delegation.OrgID, name string) (Tool, bool, error) {
	providers, err := c.Providers(ctx, org)
	if err != nil {
		return Tool{}, false, err
	}
	of, _, _ := strings.Cut(name, ".")
	for _, p := range providers {
		if p.name == of {
			t, ok := p.Tool(name)
			return t, ok, nil
		}
	}
	return Tool{}, false, nil
}

// Records are the org's own records as they were applied, in file name order.
func (c *Catalog) Records(ctx context.Context, org delegation.OrgID) ([]store.ProviderRecord, error) {
	records, err := c.org(org).Providers(ctx)
	slices.SortFunc(records, func(a, b store.ProviderRecord) int { return strings.Compare(a.Name, b.Name) })
	return records, err
}

// Check parses an org's own records, and returns what the org would have: with the built-in ones that they do not
// override, in name order. Errors that are about the records wrap ErrRecord.
func (c *Catalog) Check(records []store.ProviderRecord) ([]Provider, error) {
	if len(records) > maxRecords {
		return nil, fmt.Errorf("%w: more than %d of them", ErrRecord, maxRecords)
	}
	var out []Provider
	var wrong []error
	files := map[string]bool{}
	names := map[string]string{}
	for _, r := range records {
		if r.Name == "" || len(r.Name) > 128 || strings.ContainsFunc(r.Name, control) || files[r.Name] {
			wrong = append(wrong, fmt.Errorf("%w: each needs a file name of its own, at most 128 bytes", ErrRecord))
			continue
		}
		files[r.Name] = true
		p, err := ParseProvider(r.Name, r.Text)
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case names[p.name] != "":
			wrong = append(wrong, fmt.Errorf("%w %s: provider %q is in %s too", ErrRecord, r.Name, p.name, names[p.name]))
		case p.Loopback() && !c.allowLoopback:
			wrong = append(wrong, fmt.Errorf("%w %s: base_url: loopback needs egress.allow_loopback in the executor's configuration",
				ErrRecord, r.Name))
		default:
			names[p.name] = r.Name
			out = append(out, p)
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	for _, p := range c.builtin {
		if names[p.name] == "" {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Provider) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// Put replaces the org's own records, unless they are no longer those that Records answered with. They are checked again: nothing that
// does not parse is ever stored.
func (c *Catalog) Put(ctx context.Context, org delegation.OrgID, seen, records []store.ProviderRecord) error {
	if _, err := c.Check(records); err != nil {
		return err
	}
	if err := c.org(org).PutProviders(ctx, seen, records); err != nil {
		return fmt.Errorf("connection: store provider records: %w", err)
	}
	return nil
}

// ETag stands for a set of an org's own records: the same text for the same set, whatever its order.
func ETag(records []store.ProviderRecord) string {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b store.ProviderRecord) int { return strings.Compare(a.Name, b.Name) })
	sum := digest(records)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func digest(records []store.ProviderRecord) [sha256.Size]byte {
	h := sha256.New()
	for _, r := range records {
		fmt.Fprintf(h, "%d:%s%d:", len(r.Name), r.Name, len(r.Text))
		h.Write(r.Text)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
