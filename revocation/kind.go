// Package revocation knows which tokens are refused before they expire (RFC 7009; DESIGN §7).
package revocation

import (
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Kind says which claim of a token an entry is compared with.
type Kind string

// The kinds.
const (
	Token       Kind = "token"       // jti of the token or of any token it descends from (RV7)
	Transaction Kind = "transaction" // txn
	Subject     Kind = "subject"     // sub
	Session     Kind = "session"     // sid
	Agent       Kind = "agent"       // any actor of the chain, "agent:acme/researcher"
	Client      Kind = "client"      // client_id
	Org         Kind = "org"         // org_id
	Connection  Kind = "connection"  // a connection's id; compared by the executor, not with a claim
	Key         Kind = "key"         // kid of one of our signing keys, in every org; the entry is store.PlatformOrg's
)

// ParseKind returns the kind of that name.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Token, Transaction, Subject, Session, Agent, Client, Org, Connection, Key:
		return k, nil
	}
	return "", errors.New("revocation: unknown kind")
}

// New returns the entry that refuses, from now on, every token of a key.
//
// Before lies a little after now, because a replica's clock may be ahead. What a replica that has not yet heard of the entry
// mints later is refused all the same: it descends from an older login, or from none. Until is when the last token that it refuses is dead; maxLife is the
// longest life of any token.
func New(org delegation.OrgID, kind Kind, id, reason string, now time.Time, maxLife time.Duration) store.Revocation {
	before := now.Add(Margin)
	return store.Revocation{Org: org, Kind: string(kind), ID: id, Before: before, Until: before.Add(maxLife + Grace), Reason: reason}
}

// NewKey returns the entry that refuses every token that a signing key signed, in every org and whatever its iat: whoever has
// stolen the key writes the iat. It lives until no verifier holds the key any more: a set that was fetched just before the key
// was withdrawn serves for delegation.MaxKeysStale at most, and no token is taken for longer than delegation.MaxLife.
func NewKey(kid, reason string, now time.Time) store.Revocation {
	return New(store.PlatformOrg, Key, kid, reason, now, delegation.MaxKeysStale+delegation.MaxLife)
}

const (
	// Margin is how far New puts Before ahead of now: what the clocks of replicas may differ by.
	Margin = 2 * time.Second
	// Deaf is for how long a replica may go on minting without having heard of an entry: the bound after which it is stale,
	// and some more. A tree that no login began can be told from a newer one by this alone.
	Deaf = 8 * time.Second
	// Grace is how much longer than the tokens that it refuses an entry lives: the leeway of a verifier, and clock skew.
	Grace = 2 * time.Minute
)
