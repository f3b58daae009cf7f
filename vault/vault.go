// Package vault keeps provider credentials sealed, and lends them.
//
// Each org has one data key, wrapped by the key-encryption key and kept beside the org's data. A credential is sealed with
// its org's data key and bound, as associated data, to purpose|org|connection|version: a row that was moved to another org,
// connection or version does not open. Destroying the data key destroys every credential of the org at once (Shred).
//
// Plaintext is only ever lent: Use calls a function with the credential, and wipes its buffer when the function returns.
package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// The reasons for which this package refuses. Compare with errors.Is.
var (
	// ErrDestroyed: the org has no data key, or another one than the credential was sealed with. Nobody can open it again.
	ErrDestroyed = errors.New("vault: the credential is destroyed")
	// ErrOpen: the sealed bytes do not belong to this org, connection and version, or were changed.
	ErrOpen = errors.New("vault: the credential does not open")
	// ErrUnavailable: the store of data keys did not answer, so nothing is known.
	ErrUnavailable = errors.New("vault: data keys are unavailable")
	// ErrCredential: what was to be sealed is no credential (empty or too long).
	ErrCredential = errors.New("vault: not a credential")
)

// DataKeyStore is one org's data key. CreateDataKey MUST answer store.ErrConflict when there is one already, and DataKey
// store.ErrNotFound when there is none. A nil error means durable.
type DataKeyStore interface {
	DataKey(ctx context.Context) (store.DataKey, error)
	CreateDataKey(ctx context.Context, k store.DataKey) error
	DeleteDataKey(ctx context.Context) error
}

// Config is what a Vault is made of. Both fields are required.
type Config struct {
	Org func(delegation.OrgID) DataKeyStore // the org's handle on the store
	Key seal.Key                            // key-encryption key
}

// Vault seals and lends credentials. It is safe for many goroutines.
type Vault struct {
	org func(delegation.OrgID) DataKeyStore
	key seal.Key

	mu   sync.Mutex
	keys map[delegation.OrgID]unwrapped
}

// maxKeys bounds the memory of unwrapped data keys. An org beyond it costs one unwrapping.
const maxKeys = 1024

// unwrapped is a data key in memory, and which stored row it came from.
type unwrapped struct {
	row [sha256.Size]byte
	key seal.Key
}

// Open makes a Vault. It opens no credential and reads nothing.
func Open(c Config) (*Vault, error) {
	if c.Org == nil || c.Key.IsZero() {
		return nil, errors.New("vault: Config needs Org and Key")
	}
	return &Vault{org: c.Org, key: c.Key, keys: map[delegation.OrgID]unwrapped{}}, nil
}

// Seal encrypts a credential for one version of one connection of one org. The org's data key is made when it has none.
func (v *Vault) Seal(ctx context.Context, org delegation.OrgID, connection string, version int64, c Credential) ([]byte, error) {
	bound, err := associated(org, connection, version)
	if err != nil {
		return nil, err
	}
	plain, err := c.encode()
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := v.dataKey(ctx, org)
	if errors.Is(err, ErrDestroyed) {
		key, err = v.create(ctx, org)
	}
	if err != nil {
		return nil, err
	}
	return key.Seal(plain, bound)
}

// Use opens the credential of a connection, as read from the org's store, and lends it to f. The credential is wiped when f
// returns: f MUST NOT keep it or any slice of it. The error of f is returned as it is.
func (v *Vault) Use(ctx context.Context, org delegation.OrgID, conn store.Connection, f func(Credential) error) error {
	bound, err := associated(org, conn.ID, conn.Version)
	if err != nil {
		return err
	}
	key, err := v.dataKey(ctx, org)
	if err != nil {
		return err
	}
	plain, err := key.Open(conn.Sealed, bound)
	if err != nil {
		return fmt.Errorf("%w: connection %q version %d", ErrOpen, conn.ID, conn.Version)
	}
	defer clear(plain)
	c, err := decode(plain)
	if err != nil {
		return err
	}
	return f(c)
}

// Shred destroys the org's data key: from the moment it returns nil, no process that shares the store opens a credential
// that was sealed before. A credential that is sealed later gets a new data key. Shredding twice is no error.
func (v *Vault) Shred(ctx context.Context, org delegation.OrgID) error {
	if _, err := delegation.ParseOrgID(string(org)); err != nil {
		return err
	}
	v.forget(org)
	if err := v.org(org).DeleteDataKey(ctx); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	v.forget(org) // a concurrent Use may have remembered it again before it was gone
	return nil
}

// dataKey reads the org's data key. The stored row is read at every use, so that a key destroyed by one replica is destroyed
// for all; only the unwrapping, which a remote key service would charge for, is remembered.
func (v *Vault) dataKey(ctx context.Context, org delegation.OrgID) (seal.Key, error) {
	row, err := v.org(org).DataKey(ctx)
	if errors.Is(err, store.ErrNotFound) {
		v.forget(org)
		return seal.Key{}, fmt.Errorf("%w: org %s has no data key", ErrDestroyed, org)
	}
	if err != nil {
		return seal.Key{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	sum := sha256.Sum256(row.Sealed)
	v.mu.Lock()
	known, ok := v.keys[org]
	v.mu.Unlock()
	if ok && known.row == sum {
		return known.key, nil
	}
	key, err := v.key.Unwrap(row.Sealed, wrapping(org, row.Version))
	if err != nil {
		return seal.Key{}, fmt.Errorf("%w: data key of org %s: %w", ErrOpen, org, err)
	}
	v.remember(org, unwrapped{row: sum, key: key})
	return key, nil
}

// create makes the org's data key. When another writer was faster, its key is used.
func (v *Vault) create(ctx context.Context, org delegation.OrgID) (seal.Key, error) {
	key, err := seal.NewDataKey()
	if err != nil {
		return seal.Key{}, err
	}
	const version = 1
	sealed, err := v.key.Wrap(key, wrapping(org, version))
	if err != nil {
		return seal.Key{}, err
	}
	err = v.org(org).CreateDataKey(ctx, store.DataKey{Sealed: sealed, Version: version})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return seal.Key{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return v.dataKey(ctx, org)
}

func (v *Vault) remember(org delegation.OrgID, u unwrapped) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.keys[org]; !ok && len(v.keys) >= maxKeys {
		for other := range v.keys { // any one: it costs its org one unwrapping
			delete(v.keys, other)
			break
		}
	}
	v.keys[org] = u
}

func (v *Vault) forget(org delegation.OrgID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.keys, org)
}

// associated is what a credential is bound to. The org has no '|' in it and the version is last, so that no two different
// triples are the same bytes.
func associated(org delegation.OrgID, connection string, version int64) ([]byte, error) {
	if _, err := delegation.ParseOrgID(string(org)); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "obo provider credential|%s|%s|%d", org, connection, version), nil
}

// wrapping is what a data key is bound to.
func wrapping(org delegation.OrgID, version int64) []byte {
	return fmt.Appendf(nil, "obo data key|%s|%d", org, version)
}
