package registry

import (
	"fmt"
	"net/url"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/onbehalf/obo/jose"
)

// Workload is one registered workload issuer, made ready. It never changes.
type Workload struct {
	WorkloadIssuer
	Keys jose.KeySet // empty: by discovery
}

// AcceptsAlgorithm reports whether the issuer may sign with it.
func (w *Workload) AcceptsAlgorithm(alg jose.Algorithm) bool {
	return (&Trust{Issuer{Algorithms: w.Algorithms}}).AcceptsAlgorithm(alg)
}

// Domain is a registered SPIFFE trust domain, made ready. It never changes.
type Domain struct {
	Name   string
	Bundle *spiffebundle.Bundle
}

// trustWorkloads reads the keys of all who vouch for workloads, and who its members are.
func (o *Org) trustWorkloads() error {
	o.workloads = make(map[string]*Workload, len(o.doc.WorkloadIssuers))
	for _, w := range o.doc.WorkloadIssuers {
		ready := &Workload{WorkloadIssuer: w}
		if len(w.JWKS) > 0 {
			var err error
			if ready.Keys, err = jose.ParseKeySet(w.JWKS); err != nil {
				return fmt.Errorf("issuer %s: %w", w.Name, err)
			}
		}
		o.workloads[w.URL] = ready
	}
	o.domains = make(map[string]*Domain, len(o.doc.TrustDomains))
	for _, d := range o.doc.TrustDomains {
		ready, err := newDomain(d)
		if err != nil {
			return fmt.Errorf("trust domain %s: %w", d.Name, err)
		}
		o.domains[d.Name] = ready
	}
	o.members = map[string]*Client{}
	for _, c := range o.clients {
		if id := c.Registration.SPIFFEID; id != "" {
			o.members[id] = c
		}
	}
	var err error
	if o.doc.ClientCAs != "" {
		o.clientCAs, err = parseCAs(o.doc.ClientCAs)
	}
	return err
}

// newDomain reads a trust domain's bundle (SPIFFE Trust Domain and Bundle §4).
func newDomain(d TrustDomain) (*Domain, error) {
	name, err := trustDomain(d.Name)
	if err != nil {
		return nil, err
	}
	bundle, err := spiffebundle.Parse(name, d.Bundle)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	return &Domain{Name: d.Name, Bundle: bundle}, nil
}

// trustDomain is a trust domain's bare name; the library would take a whole SPIFFE ID for one.
func trustDomain(name string) (spiffeid.TrustDomain, error) {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil || td.Name() != name {
		return td, fmt.Errorf("%q is not a trust domain: letters a-z, digits, dots, hyphens and underscores", clip(name))
	}
	return td, nil
}

// WorkloadIssuer finds a workload issuer by its URL, compared byte for byte.
func (o *Org) WorkloadIssuer(url string) (*Workload, bool) { w, ok := o.workloads[url]; return w, ok }

// TrustDomain finds a SPIFFE trust domain by its name.
func (o *Org) TrustDomain(name string) (*Domain, bool) { d, ok := o.domains[name]; return d, ok }

// Member finds the agent that has a SPIFFE ID.
func (o *Org) Member(spiffeID string) (*Client, bool) { c, ok := o.members[spiffeID]; return c, ok }

// isHTTPS reports whether a URL has the scheme https.
func isHTTPS(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "https"
}
