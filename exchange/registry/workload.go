package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/onbehalf/obo/jose"
)

// Workload is one registered workload issuer, made ready. It never changes.
type Workload struct {
	WorkloadIssuer
	Keys jose.KeySet // empty: by discovery
}

// AcceptsAlgorithm reports whether the issuer may sign with it. What the org's profile says of it comes on top.
func (w *Workload) AcceptsAlgorithm(alg jose.Algorithm) bool {
	return accepts(w.Algorithms, alg, false)
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
	o.runners = map[string][]*Client{}
	for _, a := range o.doc.Agents {
		named := map[string]bool{}
		for _, r := range a.Workloads {
			if !named[r.Issuer] {
				named[r.Issuer] = true
				o.runners[r.Issuer] = append(o.runners[r.Issuer], o.clients[a.Name])
			}
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
		return nil, err
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

// HasWorkloads reports whether anybody vouches for workloads of the org.
func (o *Org) HasWorkloads() bool { return len(o.workloads) > 0 }

// Running are the agents whose rules fit a workload's claims.
func (o *Org) Running(issuer string, claims map[string]json.RawMessage) []*Client {
	var out []*Client
	for _, c := range o.runners[issuer] {
		if c.Runs(issuer, claims) {
			out = append(out, c)
		}
	}
	return out
}

// Runs reports whether one of the agent's rules fits the claims of a verified token of the workload issuer of that name.
func (c *Client) Runs(issuer string, claims map[string]json.RawMessage) bool {
	return slices.ContainsFunc(c.Registration.Workloads, func(r WorkloadRule) bool { return r.Issuer == issuer && r.fits(claims) })
}

// fits reports whether every claim of the rule is there with its value. A rule without claims fits nothing.
func (r WorkloadRule) fits(claims map[string]json.RawMessage) bool {
	for name, want := range r.Claims {
		raw, ok := pick(claims, name)
		if !ok || !equals(raw, want) {
			return false
		}
	}
	return len(r.Claims) > 0
}

// pick finds a claim: by its name or, with a slash before it, by a JSON pointer (RFC 6901) through objects.
func pick(claims map[string]json.RawMessage, name string) (json.RawMessage, bool) {
	path, nested := strings.CutPrefix(name, "/")
	if !nested {
		raw, ok := claims[name]
		return raw, ok
	}
	steps := strings.Split(path, "/")
	for i, step := range steps {
		raw, ok := claims[pointer.Replace(step)]
		if !ok || i == len(steps)-1 {
			return raw, ok
		}
		claims = nil
		if jose.Decode(raw, &claims) != nil {
			return nil, false
		}
	}
	return nil, false
}

// pointer undoes the escapes of a JSON pointer, in one pass, so that ~01 is ~1.
var pointer = strings.NewReplacer("~1", "/", "~0", "~")

// equals compares a string with its value, or with what a value that ends in * begins with; and true, false or a number with
// its JSON text. Arrays and objects equal nothing.
func equals(raw json.RawMessage, want string) bool {
	var text string
	if jose.Decode(raw, &text) == nil {
		if prefix, open := strings.CutSuffix(want, "*"); open {
			return len(text) > len(prefix) && strings.HasPrefix(text, prefix)
		}
		return text == want
	}
	literal := strings.TrimSpace(string(raw))
	return literal != "" && literal != "null" && literal[0] != '[' && literal[0] != '{' && literal == want
}
