package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// Entry is one record of the trail and which server keeps it.
type Entry struct {
	Server string // "sts" or "executor"
	Record *obov1.AuditRecord
}

// Merge puts the records of both servers into one story, by time. Within one server its own order stands, whatever the
// clocks say.
func Merge(sts, executor []*obov1.AuditRecord) []Entry {
	out := make([]Entry, 0, len(sts)+len(executor))
	for len(sts) > 0 || len(executor) > 0 {
		first := len(executor) == 0 ||
			len(sts) > 0 && !sts[0].GetTime().AsTime().After(executor[0].GetTime().AsTime())
		if first {
			out = append(out, Entry{Server: "sts", Record: sts[0]})
			sts = sts[1:]
			continue
		}
		out = append(out, Entry{Server: "executor", Record: executor[0]})
		executor = executor[1:]
	}
	return out
}

// EntryView is an entry as JSON.
func EntryView(e Entry) map[string]any {
	return map[string]any{"server": e.Server, "record": Proto(e.Record)}
}

// EntryViews are entries as JSON.
func EntryViews(entries []Entry) []map[string]any {
	out := make([]map[string]any, len(entries))
	for i, e := range entries {
		out[i] = EntryView(e)
	}
	return out
}

// Outcome paints an outcome.
func (p Printer) Outcome(outcome string) string {
	switch strings.TrimSpace(outcome) {
	case "approved", "succeeded":
		return p.Green(outcome)
	case "refused", "failed":
		return p.Red(outcome)
	default:
		return p.Yellow(outcome)
	}
}

// Entry draws one record: what it says, and below it who acted, what decided and why.
func (p Printer) Entry(indent string, e Entry) {
	r := e.Record
	p.Printf("%s%s  %-8s  %s %s  %s\n", indent, p.Dim(r.GetTime().AsTime().Local().Format("15:04:05.000")), e.Server,
		pad(Clean(r.GetKind()), 12), p.Outcome(pad(Clean(r.GetOutcome()), 9)), Clean(summary(r)))
	var more []string
	switch {
	case len(r.GetChain()) > 0:
		chain := slices.Clone(r.GetChain())
		slices.Reverse(chain)
		more = append(more, r.GetSubject()+" > "+strings.Join(chain, " > "))
	case r.GetClientId() != "":
		more = append(more, "client "+r.GetClientId())
	case r.GetAdministrator() != "":
		more = append(more, fmt.Sprintf("by %s (%s)", r.GetAdministrator(), r.GetRole()))
		if r.GetTokenId() != "" {
			more = append(more, "under token "+r.GetTokenId())
		}
	}
	if r.GetAuthentication() != nil {
		more = append(more, authentication(r.GetAuthentication()))
	}
	if len(r.GetPolicyIds()) > 0 {
		more = append(more, fmt.Sprintf("policy %s (version %s)", strings.Join(r.GetPolicyIds(), ", "), r.GetPolicyVersion()))
	}
	if r.GetReason() != "" {
		more = append(more, r.GetReason()+": "+r.GetDetail())
	}
	more = append(more, "action "+r.GetActionId())
	for _, line := range more {
		p.Printf("%s              %s\n", indent, p.Dim(Clean(line)))
	}
}

// authentication says how somebody has authenticated, as far as the provider says it.
func authentication(by *obov1.Authentication) string {
	text := "authenticated by " + by.GetIssuer()
	if len(by.GetAmr()) > 0 {
		text += ", amr " + strings.Join(by.GetAmr(), " ")
	}
	if by.GetAcr() != "" {
		text += ", acr " + by.GetAcr()
	}
	if at := by.GetAuthTime(); at != nil {
		text += ", at " + at.AsTime().UTC().Format(time.RFC3339)
	}
	return text
}

func pad(s string, width int) string { return fmt.Sprintf("%-*s", width, s) }

// summary says what a record is about in one line.
func summary(r *obov1.AuditRecord) string {
	var parts []string
	add := func(s string) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	switch r.GetKind() {
	case "exchange":
		scope := r.GetScopeGranted()
		if len(scope) == 0 {
			scope = r.GetScopeAsked()
		}
		add(strings.Join(scope, " "))
		if r.GetResource() != "" {
			add("for " + r.GetResource())
		}
	case "call.intent", "call.outcome":
		add(r.GetResource())
		if r.GetConnection() != "" {
			add("with " + r.GetConnection())
		}
		if r.GetStatus() != 0 {
			add(fmt.Sprintf("HTTP %d", r.GetStatus()))
		}
	default:
		add(r.GetResource())
		add(r.GetDetail())
	}
	return strings.Join(parts, " ")
}
