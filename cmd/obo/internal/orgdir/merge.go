package orgdir

import (
	"encoding/json"
	"fmt"
	"slices"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// named are the lists of a document whose entries have a name of their own, and what the name is called. Administrators have
// none: their list is always that of the files.
func named() map[string]string {
	return map[string]string{
		"issuers": "name", "agents": "name", "resources": "uri", "providers": "name", "policies": "name", "service_accounts": "name",
		"workload_issuers": "name", "trust_domains": "name", "authorization_details_types": "type", "authorization_servers": "issuer",
		"signal_streams": "name",
	}
}

// Keep adds to the files' document what is in force beside it: entries of lists that the files do not name. It answers with their
// paths, sorted.
func Keep(inForce, files []byte) (document []byte, kept []string, err error) {
	var now, want map[string]json.RawMessage
	if len(inForce) == 0 {
		return files, nil, nil
	}
	if err := json.Unmarshal(inForce, &now); err != nil {
		return nil, nil, fmt.Errorf("the configuration in force: %w", err)
	}
	if err := json.Unmarshal(files, &want); err != nil {
		return nil, nil, err
	}
	for list, name := range named() {
		ours, err := entries(want[list], name)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", list, err)
		}
		theirs, err := entries(now[list], name)
		if err != nil {
			return nil, nil, fmt.Errorf("the configuration in force: %s: %w", list, err)
		}
		all := ours
		for _, e := range theirs {
			if !slices.ContainsFunc(ours, func(o entry) bool { return o.name == e.name }) {
				all = append(all, e)
				kept = append(kept, list+"/"+e.name)
			}
		}
		if len(all) > len(ours) {
			raw := make([]json.RawMessage, len(all))
			for i, e := range all {
				raw[i] = e.raw
			}
			if want[list], err = json.Marshal(raw); err != nil {
				return nil, nil, err
			}
		}
	}
	slices.Sort(kept)
	document, err = json.Marshal(want)
	return document, kept, err
}

// entry is one entry of a list.
type entry struct {
	name string
	raw  json.RawMessage
}

func entries(list json.RawMessage, name string) ([]entry, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(list, &raw); err != nil {
		return nil, err
	}
	out := make([]entry, len(raw))
	for i, r := range raw {
		var members map[string]json.RawMessage
		var text string
		if err := json.Unmarshal(r, &members); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(members[name], &text); err != nil {
			return nil, fmt.Errorf("an entry without %s", name)
		}
		out[i] = entry{name: text, raw: r}
	}
	return out, nil
}

// KeepProviders is Keep for the executor's provider records.
func KeepProviders(inForce, files []*obov1.ProviderFile) (all []*obov1.ProviderFile, kept []string) {
	all = slices.Clone(files)
	for _, f := range inForce {
		if !slices.ContainsFunc(files, func(o *obov1.ProviderFile) bool { return o.GetName() == f.GetName() }) {
			all = append(all, f)
			kept = append(kept, "providers/"+f.GetName())
		}
	}
	return all, kept
}
