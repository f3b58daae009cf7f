// Package audit writes the trail: what was decided and what was done, durable before anything follows from it (DESIGN §7).
//
// A record states a decision or a fact, never a hope. The token server writes "exchange, approved" before it signs: that
// says that issuing was approved, and stays true if the process dies in between. So a token or a call without a record
// cannot exist, while a record without a token can. A record never holds a token, a credential or an argument's value.
package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// The kinds of record.
const (
	KindExchange = "exchange"     // a decision of the token server, written before it signs
	KindIntent   = "call.intent"  // a call is about to be made
	KindOutcome  = "call.outcome" // what became of it
	KindAdmin    = "admin"        // an operator changes something, written before it changes
)

// The outcomes.
const (
	OutcomeApproved  = "approved"
	OutcomeRefused   = "refused"
	OutcomeSucceeded = "succeeded"
	OutcomeFailed    = "failed"
	OutcomeUnknown   = "unknown" // the request was sent and no answer came: it may have taken effect
)

// Record is one decision or one fact. Required are ActionID, Kind, Outcome and Org.
//
// What identifies somebody or something is refused when it is too long or not printable ASCII, with ErrInvalid. What a
// caller may choose freely (ClientID, Resource, ScopeAsked, PolicyIDs, Detail) is cut and cleaned instead, so that the
// refusal of rubbish can be recorded.
type Record struct {
	Sequence       uint64           `json:"-"`                        // given by the store; set by Decode
	ActionID       string           `json:"action_id"`                // "<txn>.<jti>", "<txn>.<call>", "<org>.<uuid>"; at most 256 bytes
	Kind           string           `json:"kind"`                     // one of the kinds
	Outcome        string           `json:"outcome"`                  // one of the outcomes
	Reason         string           `json:"reason,omitempty"`         // stable, when refused or failed; at most 64 bytes
	Org            delegation.OrgID `json:"org_id"`                   // or store.PlatformOrg
	Time           time.Time        `json:"time"`                     // UTC, microseconds; set by Log when zero
	Transaction    string           `json:"transaction,omitempty"`    // txn; at most 128 bytes
	TokenID        string           `json:"token_id,omitempty"`       // jti, of an administrator's token too; at most 128 bytes
	Subject        string           `json:"subject,omitempty"`        // sub; at most 512 bytes
	Chain          []string         `json:"chain,omitempty"`          // actors, current first; at most 16
	Lineage        []string         `json:"lineage,omitempty"`        // jtis, oldest first; at most 64
	ClientID       string           `json:"client_id,omitempty"`      // at most 256 bytes
	Administrator  string           `json:"administrator,omitempty"`  // who changed something: sub of its token; at most 512 bytes
	Role           string           `json:"role,omitempty"`           // as what; at most 64 bytes
	Authentication *Authentication  `json:"authentication,omitempty"` // of an administrator who signs in
	Changes        []Change         `json:"changes,omitempty"`        // what was changed; at most 64, cut to 1 KiB each
	Resource       string           `json:"resource,omitempty"`       // or the tool; at most 512 bytes
	ScopeAsked     []string         `json:"scope_asked,omitempty"`    // at most 100 of 128 bytes
	ScopeGranted   []string         `json:"scope_granted,omitempty"`  // at most 100 of 128 bytes
	PolicyVersion  string           `json:"policy_version,omitempty"` // at most 128 bytes
	PolicyIDs      []string         `json:"policy_ids,omitempty"`     // sorted; at most 100 of 256 bytes
	TraceID        string           `json:"trace_id,omitempty"`       // at most 64 bytes
	Connection     string           `json:"connection,omitempty"`     // at most 256 bytes
	Status         int              `json:"status,omitzero"`          // the provider's HTTP status
	Expiry         time.Time        `json:"expiry,omitzero"`          // exp of the token that was approved
	Began          time.Time        `json:"began,omitzero"`           // its subject_iat
	Session        string           `json:"session,omitempty"`        // its sid, an issuer's own text; at most 255 bytes
	Detail         string           `json:"detail,omitempty"`         // one line for people; at most 512 bytes
}

// Authentication is what an issuer says of how somebody authenticated. Its words are the issuer's own: they are cut and cleaned.
type Authentication struct {
	Issuer   string    `json:"issuer"`             // iss
	ACR      string    `json:"acr,omitempty"`      // at most 256 bytes
	AMR      []string  `json:"amr,omitempty"`      // at most 16 of 64 bytes
	AuthTime time.Time `json:"auth_time,omitzero"` // UTC
}

// Change is one difference that an administrator makes. It never holds a secret.
type Change struct {
	Path   string `json:"path"`             // agents/researcher
	Before string `json:"before,omitempty"` // as JSON; empty for an addition
	After  string `json:"after,omitempty"`  // as JSON; empty for a removal
}

// Kind is "add", "change" or "remove".
func (c Change) Kind() string {
	switch {
	case c.Before == "":
		return "add"
	case c.After == "":
		return "remove"
	}
	return "change"
}

var (
	kinds    = []string{KindExchange, KindIntent, KindOutcome, KindAdmin}
	outcomes = []string{OutcomeApproved, OutcomeRefused, OutcomeSucceeded, OutcomeFailed, OutcomeUnknown}
)

// encode checks and cleans a record and returns it as it is stored.
func (r Record) encode() (store.AuditRecord, error) {
	r.clean()
	if err := r.check(); err != nil {
		return store.AuditRecord{}, err
	}
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	body, err := jose.Encode(r)
	if err != nil {
		return store.AuditRecord{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return store.AuditRecord{Org: r.Org, ActionID: r.ActionID, Transaction: r.Transaction, Time: r.Time, Body: body}, nil
}

// Decode returns the record that a stored one holds. It refuses one whose body and columns disagree, since then somebody
// has edited one of them.
func Decode(s store.AuditRecord) (Record, error) {
	var r Record
	if err := jose.Decode(s.Body, &r); err != nil {
		return Record{}, fmt.Errorf("audit: record %d: %w", s.Sequence, err)
	}
	if r.Org != s.Org || r.ActionID != s.ActionID || r.Transaction != s.Transaction || !r.Time.Equal(s.Time) {
		return Record{}, fmt.Errorf("audit: record %d: its columns say something other than its body", s.Sequence)
	}
	r.Sequence, r.Time = s.Sequence, r.Time.UTC()
	return r, nil
}

func (r *Record) check() error {
	if r.Org != store.PlatformOrg {
		if _, err := delegation.ParseOrgID(string(r.Org)); err != nil {
			return fmt.Errorf("%w: org: %w", ErrInvalid, err)
		}
	}
	switch {
	case r.ActionID == "":
		return fmt.Errorf("%w: no action id", ErrInvalid)
	case !slices.Contains(kinds, r.Kind):
		return fmt.Errorf("%w: unknown kind", ErrInvalid)
	case !slices.Contains(outcomes, r.Outcome):
		return fmt.Errorf("%w: unknown outcome", ErrInvalid)
	case len(r.Session) > 255 || !utf8.ValidString(r.Session) || strings.ContainsFunc(r.Session, unicode.IsControl):
		return fmt.Errorf("%w: session", ErrInvalid)
	case !r.Expiry.IsZero() && outOfYears(r.Expiry), !r.Began.IsZero() && outOfYears(r.Began):
		return fmt.Errorf("%w: expiry or began", ErrInvalid)
	case r.Authentication != nil && !r.Authentication.AuthTime.IsZero() && outOfYears(r.Authentication.AuthTime):
		return fmt.Errorf("%w: auth_time", ErrInvalid)
	case r.Time.IsZero() || outOfYears(r.Time):
		return fmt.Errorf("%w: time", ErrInvalid)
	}
	return errors.Join(
		one("action_id", r.ActionID, 256), one("reason", r.Reason, 64), one("transaction", r.Transaction, 128),
		one("administrator", r.Administrator, 512), one("role", r.Role, 64),
		one("token_id", r.TokenID, 128), one("subject", r.Subject, 512), one("policy_version", r.PolicyVersion, 128),
		one("trace_id", r.TraceID, 64), one("connection", r.Connection, 256),
		all("chain", r.Chain, 16, 256), all("lineage", r.Lineage, 64, 128), all("scope_granted", r.ScopeGranted, 100, 128),
	)
}

func outOfYears(t time.Time) bool { return t.Year() < 1 || t.Year() > 9999 }

// one wants printable ASCII of at most so many bytes.
func one(name, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%w: %s has %d bytes, at most %d", ErrInvalid, name, len(s), limit)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fmt.Errorf("%w: %s is not printable ASCII", ErrInvalid, name)
		}
	}
	return nil
}

func all(name string, list []string, count, limit int) error {
	if len(list) > count {
		return fmt.Errorf("%w: %s has %d entries, at most %d", ErrInvalid, name, len(list), count)
	}
	for _, s := range list {
		if err := one(name, s, limit); err != nil {
			return err
		}
	}
	return nil
}
