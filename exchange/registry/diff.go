package registry

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/onbehalf/obo/jose"
)

// Change is one difference between two documents.
type Change struct {
	Path   string `json:"path"`             // agents/researcher/scopes
	Kind   string `json:"kind"`             // add, change or remove
	Before string `json:"before,omitempty"` // as JSON; empty for an addition
	After  string `json:"after,omitempty"`  // as JSON; empty for a removal
}

// Diff lists the differences in path order. Entries of lists are told by their name (a resource by its URI), so that moving
// one is no change.
func Diff(before, after Document) []Change {
	was, is := flatten(before), flatten(after)
	var out []Change
	for path, b := range was {
		switch a, ok := is[path]; {
		case !ok:
			out = append(out, Change{Path: path, Kind: "remove", Before: b})
		case a != b:
			out = append(out, Change{Path: path, Kind: "change", Before: b, After: a})
		}
	}
	for path, a := range is {
		if _, ok := was[path]; !ok {
			out = append(out, Change{Path: path, Kind: "add", After: a})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// flatten is a document as one JSON text for each path.
func flatten(d Document) map[string]string {
	out := map[string]string{}
	put := func(path string, v any) {
		if data, err := jose.Encode(v); err == nil {
			out[path] = string(data)
		}
	}
	set := func(path string, is bool, v any) {
		if is {
			put(path, v)
		}
	}
	set("limits/max_depth", d.Limits.MaxDepth != 0, d.Limits.MaxDepth)
	set("limits/max_life", d.Limits.MaxLife != 0, d.Limits.MaxLife)
	set("limits/rate", d.Limits.Rate != 0, d.Limits.Rate)
	set("limits/agent_rate", d.Limits.AgentRate != 0, d.Limits.AgentRate)
	set("profile", d.Profile != "", d.Profile)
	set("signing_algorithm", d.SigningAlgorithm != "", d.SigningAlgorithm)
	set("client_cas", d.ClientCAs != "", d.ClientCAs)
	set("transaction_tokens/trust_domain", d.TransactionTokens.TrustDomain != "", d.TransactionTokens.TrustDomain)
	set("directory", d.Directory != Directory{}, d.Directory)
	for i, v := range d.Administrators {
		put("administrators/"+strconv.Itoa(i), v)
	}
	for i, v := range d.SignalStreams {
		put("signal_streams/"+label(v.Name, i), v)
	}
	for i, v := range d.ServiceAccounts {
		put("service_accounts/"+label(v.Name, i), v)
	}
	for i, v := range d.WorkloadIssuers {
		put("workload_issuers/"+label(v.Name, i), v)
	}
	for i, v := range d.TrustDomains {
		put("trust_domains/"+label(v.Name, i), v)
	}
	for i, v := range d.DetailTypes {
		put("authorization_details_types/"+label(v.Name, i), v)
	}
	for i, v := range d.AuthorizationServers {
		put("authorization_servers/"+label(v.Issuer, i), v)
	}
	for i, v := range d.Issuers {
		put("issuers/"+label(v.Name, i), v)
	}
	for i, v := range d.Agents {
		put("agents/"+label(v.Name, i), v)
	}
	for _, v := range d.Resources {
		put("resources/"+v.URI, v)
	}
	for i, v := range d.Providers {
		put("providers/"+label(v.Name, i), v)
	}
	for i, v := range d.Policies {
		name := v.Name
		if _, twice := out["policies/"+name]; twice {
			name += "#" + strconv.Itoa(i)
		}
		put("policies/"+name, v)
	}
	return out
}
