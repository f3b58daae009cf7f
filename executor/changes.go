package executor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// providerChanges are the differences of two sets of provider records, by file name.
func providerChanges(before, after []store.ProviderRecord) []audit.Change {
	was, is := texts(before), texts(after)
	var out []audit.Change
	for name, text := range was {
		if is[name] != text {
			out = append(out, audit.Change{Path: "providers/" + name, Before: text, After: is[name]})
		}
	}
	for name, text := range is {
		if _, known := was[name]; !known {
			out = append(out, audit.Change{Path: "providers/" + name, After: text})
		}
	}
	slices.SortFunc(out, func(a, b audit.Change) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func texts(records []store.ProviderRecord) map[string]string {
	out := map[string]string{}
	for _, r := range records {
		out[r.Name] = text(string(r.Text))
	}
	return out
}

// text is a value as JSON.
func text(v any) string {
	data, err := jose.Encode(v)
	if err != nil {
		return ""
	}
	return string(data)
}

// connectionChanges is a change of a connection; version 0 stands for none. Nothing of a credential is in it, sealed or not: a new one
// shows as a new version.
func connectionChanges(before, after store.Connection) []audit.Change {
	var c audit.Change
	if before.Version > 0 {
		c.Path, c.Before = "connections/"+before.ID, connectionText(before)
	}
	if after.Version > 0 {
		c.Path, c.After = "connections/"+after.ID, connectionText(after)
	}
	return []audit.Change{c}
}

func connectionText(c store.Connection) string {
	return text(struct {
		Provider     string `json:"provider"`
		Pattern      string `json:"pattern"`
		Subject      string `json:"subject,omitempty"`
		Status       string `json:"status"`
		StatusReason string `json:"status_reason,omitempty"`
		Account      string `json:"account,omitempty"`
		Version      int64  `json:"version"`
	}{c.Provider, c.Pattern, c.Subject, c.Status, c.StatusReason, c.Account, c.Version})
}

// staleProviders is the refusal of a change that was made of another set than the one in force.
func staleProviders(inForce []store.ProviderRecord) *Error {
	names := make([]string, len(inForce))
	for i, r := range inForce {
		names[i] = r.Name
	}
	what := "no records of the org's own are"
	if len(names) > 0 {
		what = "another set is: " + strings.Join(names, ", ")
	}
	return &Error{Reason: Conflict, Description: "the set that the etag stands for is not in force; " + what +
		". Read it, see whether the change still holds, and send it with that etag"}
}

// staleConnection is the refusal of a change that was made of another version of a connection than there is.
func staleConnection(now store.Connection, saw int64) *Error {
	if now.Version == 0 {
		return &Error{Reason: Conflict, Description: fmt.Sprintf(
			"there is no such connection, and version %d was expected: expect version 0 to create it", saw)}
	}
	return &Error{Reason: Conflict, Description: fmt.Sprintf("the connection has version %d (%s), since %s, and not version %d, which the "+
		"change was made of: read it, see whether the change still holds, and send it with that version",
		now.Version, now.Status, now.Updated.UTC().Format(time.RFC3339), saw)}
}
