package store

import (
	"errors"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
)

// ErrTaken says that another record of the org has that name, or that external id.
var ErrTaken = errors.New("store: taken")

// User is a person as an org's identity provider has provisioned it (RFC 7643 §4.1).
type User struct {
	Org        delegation.OrgID
	ID         string // ours
	UserName   string // unique within the org, whatever its case
	ExternalID string // the provider's own id, byte for byte; unique within the org when it is not empty
	Email      string // the primary one, folded, or empty; not unique
	Active     bool
	Document   []byte // JSON of the attributes that are kept
	Version    int64  // 1 for the first; compare-and-swap
	Created    time.Time
	Updated    time.Time
}

// Group is a group of users (RFC 7643 §4.2).
type Group struct {
	Org         delegation.OrgID
	ID          string
	DisplayName string // as policies name it; unique within the org, whatever its case
	ExternalID  string
	Version     int64 // 1 for the first; compare-and-swap
	Created     time.Time
	Updated     time.Time
}

// Membership changes who is in a group: those of Remove leave, then those of Add join. With Replace all others leave too.
type Membership struct {
	Replace     bool
	Add, Remove []string // ids of users
}

// UserQuery chooses users that are all that it names, in the order of their ids.
type UserQuery struct {
	ID, UserName, ExternalID, Email string // empty: any
	Offset, Limit                   int    // Limit: 0 to MaxPage
}

// GroupQuery chooses groups that are all that it names, in the order of their ids.
type GroupQuery struct {
	ID, DisplayName, ExternalID string // empty: any
	Member                      string // id of a user in it; empty: any
	Offset, Limit               int    // Limit: 0 to MaxPage
}

// Fold is what names and addresses are compared by that differ in case alone (RFC 7643 §2.2, caseExact).
func Fold(name string) string { return strings.ToLower(name) }

// Condition is a column that must have a value.
type Condition struct{ Column, Value string }

// Conditions are what a row of the query must have, by the column names of both engines.
func (q UserQuery) Conditions() []Condition {
	return named(Condition{"id", q.ID}, Condition{"name_key", Fold(q.UserName)}, Condition{"external_id", q.ExternalID},
		Condition{"email_key", Fold(q.Email)})
}

// Conditions are what a row of the query must have, by the column names of both engines; Member is none of them.
func (q GroupQuery) Conditions() []Condition {
	return named(Condition{"id", q.ID}, Condition{"name_key", Fold(q.DisplayName)}, Condition{"external_id", q.ExternalID})
}

func named(all ...Condition) []Condition {
	out := all[:0]
	for _, c := range all {
		if c.Value != "" {
			out = append(out, c)
		}
	}
	return out
}
