package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/store"
)

// difference is the change of one thing from a value to another, either of which may be nil for none. It is empty when they are the
// same.
func difference(path string, before, after any) []registry.Change {
	c := registry.Change{Path: path, Kind: "change", Before: text(before), After: text(after)}
	switch {
	case c.Before == c.After:
		return nil
	case c.Before == "":
		c.Kind = "add"
	case c.After == "":
		c.Kind = "remove"
	}
	return []registry.Change{c}
}

// text is a value as JSON.
func text(v any) string {
	if v == nil {
		return ""
	}
	data, err := jose.Encode(v)
	if err != nil {
		return ""
	}
	return string(data)
}

// recorded is what the trail keeps of changes.
func recorded(changes []registry.Change) []audit.Change {
	out := make([]audit.Change, len(changes))
	for i, c := range changes {
		out[i] = audit.Change{Path: c.Path, Before: c.Before, After: c.After}
	}
	return out
}

// beyondPolicies reports whether any change is of something else than a policy.
func beyondPolicies(changes []registry.Change) bool {
	return slices.ContainsFunc(changes, func(c registry.Change) bool { return !strings.HasPrefix(c.Path, "policies/") })
}

// summary says in one line what changes.
func summary(what string, changes []registry.Change) string {
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = c.Kind + " " + c.Path
	}
	return what + ": " + strings.Join(parts, ", ")
}

// entryChange is a revocation as a change: there was none, and there is one.
func entryChange(e store.Revocation) []registry.Change {
	return difference("revocations/"+e.Kind+"/"+e.ID, nil, struct {
		Scope    string    `json:"scope,omitempty"`
		Since    time.Time `json:"since,omitzero"`
		Before   time.Time `json:"before,omitzero"`
		Until    time.Time `json:"until"`
		Departed bool      `json:"departed,omitempty"`
		Reason   string    `json:"reason,omitempty"`
	}{e.Scope, e.Since, e.Before, e.Until, e.Departed, e.Reason})
}

// credentialChange is the change of a stream's credential: for which endpoint one was put, and when.
func credentialChange(path string, before, after *store.SignalCredential) []registry.Change {
	value := func(c *store.SignalCredential) any {
		if c == nil {
			return nil
		}
		return struct {
			Endpoint string    `json:"endpoint"`
			Created  time.Time `json:"created"`
		}{c.Endpoint, c.Created}
	}
	return difference(path, value(before), value(after))
}

// keyChanges are the differences of two sets of signing keys, by kid. A key that is yet to be made goes by its algorithm.
func keyChanges(p keys.Preview) []registry.Change {
	type life struct {
		Algorithm  jose.Algorithm `json:"alg"`
		Source     string         `json:"source"`
		Published  time.Time      `json:"published"`
		Activate   time.Time      `json:"activate"`
		Deactivate time.Time      `json:"deactivate,omitzero"`
		Remove     time.Time      `json:"remove,omitzero"`
	}
	lives := func(infos []keys.Info) map[string]any {
		out := map[string]any{}
		for _, k := range infos {
			out["keys/"+cmp.Or(k.KID, "new "+string(k.Algorithm))] = life{
				k.Algorithm, k.Source, k.Published, k.Activate, k.Deactivate, k.Remove,
			}
		}
		return out
	}
	before, after := lives(p.Before), lives(p.After)
	var changes []registry.Change
	for path, was := range before {
		changes = append(changes, difference(path, was, after[path])...)
	}
	for path, is := range after {
		if before[path] == nil {
			changes = append(changes, difference(path, nil, is)...)
		}
	}
	slices.SortFunc(changes, func(a, b registry.Change) int { return strings.Compare(a.Path, b.Path) })
	return changes
}

// secretChange is the change of a client's live secrets, newest first. A secret goes by the beginning of its hash: that tells two
// apart and gives neither away.
func secretChange(path string, before, after [][32]byte) []registry.Change {
	ids := func(hashes [][32]byte) (out []string) {
		for _, h := range hashes {
			out = append(out, fmt.Sprintf("%x", h[:4]))
		}
		return out
	}
	var was any
	if len(before) > 0 {
		was = ids(before)
	}
	return difference(path, was, ids(after))
}
