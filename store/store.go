// Package store holds the records that both engines keep and the sentinels that they answer with. It has no interface:
// whoever uses a store declares the few methods that it needs, and store/storetest holds every engine to one contract.
//
// Contract, for every method of every engine. A method that returns nil has made its write durable (fsynced, committed).
// A method that fails may or may not have taken effect, unless the error is one of the sentinels: then it changed nothing.
// A context that has ended before the call changes nothing. Returned records are copies. Times are UTC with microseconds,
// what is finer is cut off; the zero time stays the zero time. Ids are compared byte for byte, and lists are in that order
// unless they say otherwise. Data of an org is reached through Org(id) alone, so a query without a tenant cannot be
// written; PostgreSQL repeats it with row-level security. A record's Org field must be empty or the handle's own.
package store

import (
	"bytes"
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
)

// The sentinels. Compare with errors.Is.
var (
	// ErrNotFound: the record does not exist in this org.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict: the record is not as the caller saw it (compare-and-swap), or it exists already.
	ErrConflict = errors.New("store: conflict")
)

// MaxPage is the most that one call of Changes, Revocations, AuditRecords, ConnectionsFor, Connections or a method named Page returns.
// A limit outside 1 to MaxPage is moved to its nearest end. What is listed after a key is what there is when the call is made: the key
// itself need not exist any more.
const MaxPage = 1000

// OrgConfig is one version of an org's configuration as stored: the JSON document that `obo apply` sent.
type OrgConfig struct {
	Org      delegation.OrgID
	Version  int64 // 1 for the first
	Document []byte
	Created  time.Time
}

// ClientSecret is a client's secret as stored: a hash, so that a stolen database authenticates nobody.
type ClientSecret struct {
	Agent   string   // the agent's name within the org
	Hash    [32]byte // SHA-256 of a secret of 256 random bits; a slow hash would protect nothing more
	Created time.Time
}

// Revocation refuses every token of its key that began at or before Before (DESIGN §7).
type Revocation struct {
	Sequence uint64 // its place in the feed; given by the store
	Org      delegation.OrgID
	Kind     string // one of revocation.Kind
	ID       string
	Scope    string    // only tokens that have this scope or, when it ends with ':' (a provider's), one that begins with it; empty for all
	Since    time.Time // only tokens issued at or after this; zero for all
	Before   time.Time
	Until    time.Time // when the entry may be forgotten
	Departed bool      // of a subject: it has left for good, so its connections end too
	Reason   string
}

// Change says that something of an org changed. The feed and every cache follow it. Sequence numbers are given in commit
// order: a reader that has seen n will never be handed a smaller one later.
type Change struct {
	Sequence uint64
	Org      delegation.OrgID // PlatformOrg for the operator's own policies
	Kind     ChangeKind
	// Mark is random, and the change's own: a database that was restored from a backup, or is another one, has another mark
	// at the same place. 0 when it is not known.
	Mark uint64
}

// Replica is one process that serves a database, as it last said.
type Replica struct {
	ID       string
	Since    time.Time
	Seen     time.Time // by the replica's clock
	Document []byte    // JSON of what it says (revocation.Roster)
}

// ChangeKind is what changed.
type ChangeKind string

// The kinds of change.
const (
	ChangeConfig     ChangeKind = "config"     // configuration or a client secret
	ChangeRevocation ChangeKind = "revocation" // the entry with the change's own sequence number
	ChangeKeys       ChangeKind = "keys"       // signing keys
)

// PlatformOrg owns what belongs to no org: the operator's policies and the signing keys. No org can have this id.
const PlatformOrg delegation.OrgID = "_platform"

// SigningKey is a key as stored: its private part sealed.
type SigningKey struct {
	KID        string
	Algorithm  string
	Sealed     []byte // private key, sealed by the key-encryption key
	Public     []byte // public JWK
	Published  time.Time
	Activate   time.Time
	Deactivate time.Time // zero while no successor is known
	Remove     time.Time // zero while no successor is known
}

// AuditRecord is one record of the trail as stored. The body is the record's JSON; the columns beside it are what a reader
// may search by.
type AuditRecord struct {
	Sequence    uint64 // given by the store, in commit order
	Org         delegation.OrgID
	ActionID    string
	Transaction string
	Time        time.Time
	Body        []byte
}

// AuditQuery chooses records of one org, oldest first.
type AuditQuery struct {
	Action string // an action id or a transaction; empty for all
	After  uint64 // only records with a greater sequence number
	Limit  int    // 1 to MaxPage
}

// Transactions lists the transactions that the records of q.Action may belong to: q.Action itself, and each part of it that
// ends before a dot. Most action ids are "<transaction>.<rest>", so the engines find them by their transaction and index
// only the others by action. (Both ids are random. An index on each costs as much as writing the records themselves.)
func (q AuditQuery) Transactions() []string {
	out := []string{q.Action}
	for i := range len(q.Action) {
		if q.Action[i] == '.' {
			out = append(out, q.Action[:i])
		}
	}
	return out
}

// Activity is when an agent last acted.
type Activity struct {
	Agent string // its name within the org
	Last  time.Time
}

// SignalCredential is with what the server authenticates to the transmitter of a stream of security events, sealed.
type SignalCredential struct {
	Stream   string
	Endpoint string // the only one that it is for
	Sealed   []byte
	Created  time.Time
}

// SignalPoll is which replica polls a stream, and how that goes.
type SignalPoll struct {
	Stream    string
	Holder    string    // the replica
	Until     time.Time // another may take over after that
	Succeeded time.Time // of the last poll that did; zero when none has yet
	Failed    time.Time // of the last that did not
	Failure   string    // why
}

// DataKey is an org's data key as stored: sealed by the key-encryption key.
type DataKey struct {
	Sealed  []byte
	Version int64
}

// ProviderRecord is an org's own provider record as applied.
type ProviderRecord struct {
	Name string // file name
	Text []byte // YAML
}

// Equal reports whether two records are the same.
func (r ProviderRecord) Equal(other ProviderRecord) bool {
	return r.Name == other.Name && bytes.Equal(r.Text, other.Text)
}
