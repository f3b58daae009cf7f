// Package audit writes the trail: what was decided and what was done, durable before anything follows from it (DESIGN §7).
package audit

import (
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// The kinds of record.
const (
	KindExchange = "exchange"     // a decision of the token server, written before it signs
	KindIntent   = "call.intent"  // a call is about to be made
	KindOutcome  = "call.outcome" // what became of it
	KindAdmin    = "admin"        // an operator changed something
)

// The outcomes.
const (
	OutcomeApproved  = "approved"
	OutcomeRefused   = "refused"
	OutcomeSucceeded = "succeeded"
	OutcomeFailed    = "failed"
	OutcomeUnknown   = "unknown" // the request was sent and no answer came: it may have taken effect
)

// Record is one decision or one fact.
type Record struct {
	Sequence      uint64           `json:"-"`
	ActionID      string           `json:"action_id"`
	Kind          string           `json:"kind"`
	Outcome       string           `json:"outcome"`
	Reason        string           `json:"reason,omitempty"`
	Org           delegation.OrgID `json:"org_id"`
	Time          time.Time        `json:"time"`
	Transaction   string           `json:"transaction,omitempty"`
	TokenID       string           `json:"token_id,omitempty"`
	Subject       string           `json:"subject,omitempty"`
	Chain         []string         `json:"chain,omitempty"`
	Lineage       []string         `json:"lineage,omitempty"`
	ClientID      string           `json:"client_id,omitempty"`
	Resource      string           `json:"resource,omitempty"`
	ScopeAsked    []string         `json:"scope_asked,omitempty"`
	ScopeGranted  []string         `json:"scope_granted,omitempty"`
	PolicyVersion string           `json:"policy_version,omitempty"`
	PolicyIDs     []string         `json:"policy_ids,omitempty"`
	TraceID       string           `json:"trace_id,omitempty"`
	Connection    string           `json:"connection,omitempty"`
	Status        int              `json:"status,omitempty"`
	Detail        string           `json:"detail,omitempty"`
}

var errUnfinished = errors.New("audit: not written yet")

// Decode returns the record that a stored one holds.
func Decode(s store.AuditRecord) (Record, error) { return Record{}, errUnfinished }
