package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// RotateStore is what a rotation changes of an org. DropDataKey MUST answer store.ErrConflict while anything that is sealed begins with
// prefix, and all that stores anything sealed from then on for what does: else a writer that has sealed just before would lose it.
type RotateStore interface {
	ResealStore
	DropDataKey(ctx context.Context, old, sealed, prefix []byte) error
	connections
	clients
	authorizations
	webhooks
}

type connections interface {
	Connections(ctx context.Context, after string, limit int) ([]store.Connection, error) // by id
	PutConnection(ctx context.Context, c store.Connection, was string) error
}

type clients interface {
	Clients(ctx context.Context, after string, limit int) ([]store.Client, error) // by name
	PutClient(ctx context.Context, c store.Client) error
}

type authorizations interface {
	Authorizations(ctx context.Context, after string, limit int) ([]store.Authorization, error) // by id
	ResealAuthorization(ctx context.Context, id string, old, sealed []byte) error
}

type webhooks interface {
	Webhook(ctx context.Context) (store.Webhook, error)
	ResealWebhook(ctx context.Context, old, sealed []byte) error
}

// ForClient is what the secret of a registration is sealed for, in place of a connection's id, which has no slash.
func ForClient(name string) string { return "client/" + name }

// ForAuthorization is what an attempt to connect is sealed for, with its version, which stays when it is sealed again.
func ForAuthorization(id string) string { return "authorization/" + id }

// ForWebhook is what the secret of the org's webhook is sealed for, with its version.
const ForWebhook = "webhook/"

// walkPage bounds how many credentials a walk holds at once, sealed.
const walkPage = 100

// Rotator replaces data keys while they are used. An org's data key is a keyset, so that a rotation is three steps, after each of which
// every credential opens: a new key seals (Renew), each credential is sealed again (Walk), the old key goes (Drop). Where it stands is
// stored in the keyset alone. Whoever begins anew goes on from there, and two do each other no harm. It finds what is sealed by
// connections, clients, authorizations and webhooks: nothing else may be sealed with data keys.
type Rotator struct {
	vault *Vault
	org   func(delegation.OrgID) RotateStore
}

// NewRotator makes a Rotator of the data keys that a vault seals with, in the same store.
func NewRotator(v *Vault, org func(delegation.OrgID) RotateStore) (*Rotator, error) {
	if v == nil || org == nil {
		return nil, errors.New("vault: a Rotator needs a Vault and its store")
	}
	return &Rotator{v, org}, nil
}

// Standing is how an org's data key stands, and what is sealed with it.
type Standing struct {
	Under   seal.ID         // key-encryption key that seals the data key
	Keys    []seal.ID       // of the data key, the one that seals first; none: the org has no data key
	Sealed  map[seal.ID]int // credentials, and what else is sealed, by the key that sealed them
	Without int             // connections without a credential
}

// Left is how many credentials open and are not sealed with the key that seals now.
func (s Standing) Left() (n int) {
	for _, id := range s.Keys[min(1, len(s.Keys)):] {
		n += s.Sealed[id]
	}
	return n
}

// Destroyed is how many credentials nobody can open any more.
func (s Standing) Destroyed() (n int) {
	for id, sealed := range s.Sealed {
		if !slices.Contains(s.Keys, id) {
			n += sealed
		}
	}
	return n
}

// Standing reads it. It opens no credential.
func (r *Rotator) Standing(ctx context.Context, org delegation.OrgID) (Standing, error) {
	out := Standing{Sealed: map[seal.ID]int{}}
	switch row, key, err := r.open(ctx, org); {
	case errors.Is(err, ErrDestroyed):
	case err != nil:
		return Standing{}, err
	default:
		out.Keys = key.IDs()
		if out.Under, err = seal.UnderWrapped(row.Sealed); err != nil {
			return Standing{}, fmt.Errorf("%w: data key of org %s: %w", ErrOpen, org, err)
		}
	}
	err := r.each(ctx, org, func(e envelope) error {
		if len(e.sealed) == 0 {
			if e.credential {
				out.Without++
			}
			return nil
		}
		id, err := seal.Under(e.sealed)
		if err != nil {
			return fmt.Errorf("%w: %s", ErrOpen, e.name)
		}
		out.Sealed[id]++
		return nil
	})
	return out, err
}

// Step is a change of an org's data key that was prepared. Take makes it.
type Step struct {
	Before, After []seal.ID // its keys, the one that seals first
	take          func(context.Context) error
}

// Take makes the change. store.ErrConflict says that the data key, or what is sealed with it, is not as it was: prepare it anew.
func (s Step) Take(ctx context.Context) error { return s.take(ctx) }

// Renew prepares a data key in which a new key seals, and those of before open. A rotation that was interrupted is to be finished
// first: Standing has two keys then.
func (r *Rotator) Renew(ctx context.Context, org delegation.OrgID) (Step, error) {
	row, key, err := r.open(ctx, org)
	if err != nil {
		return Step{}, err
	}
	next, id, err := key.WithNew()
	if err != nil {
		return Step{}, err
	}
	if next, err = next.SealingBy(id); err != nil {
		return Step{}, err
	}
	sealed, err := r.vault.key.Wrap(next, wrapping(org, row.Version))
	if err != nil {
		return Step{}, err
	}
	return Step{Before: key.IDs(), After: next.IDs(), take: func(ctx context.Context) error {
		return stored(r.org(org).ResealDataKey(ctx, row.Sealed, sealed))
	}}, nil
}

// Drop prepares a data key without one that does not seal. It cannot be taken while a credential is sealed with that one.
func (r *Rotator) Drop(ctx context.Context, org delegation.OrgID, id seal.ID) (Step, error) {
	row, key, err := r.open(ctx, org)
	if err != nil {
		return Step{}, err
	}
	next, err := key.Without(id)
	if errors.Is(err, seal.ErrID) {
		return Step{}, fmt.Errorf("%w: %w", store.ErrConflict, err) // another has dropped it
	}
	if err != nil {
		return Step{}, err
	}
	sealed, err := r.vault.key.Wrap(next, wrapping(org, row.Version))
	if err != nil {
		return Step{}, err
	}
	return Step{Before: key.IDs(), After: next.IDs(), take: func(ctx context.Context) error {
		return stored(r.org(org).DropDataKey(ctx, row.Sealed, sealed, id.Prefix()))
	}}, nil
}

// Walk seals all again that was not sealed with the key that seals now, and tells of each. Whoever writes meanwhile wins. What does not
// open is an error, which comes last: its key cannot be dropped.
func (r *Rotator) Walk(ctx context.Context, org delegation.OrgID, told func() error) error {
	_, key, err := r.open(ctx, org)
	if err != nil {
		return err
	}
	var stuck error
	err = r.each(ctx, org, func(e envelope) error {
		if !slices.ContainsFunc(key.IDs()[1:], func(id seal.ID) bool { return bytes.HasPrefix(e.sealed, id.Prefix()) }) {
			return nil // nothing is in it, or it has the right seal, or is destroyed
		}
		err := reseal(ctx, org, key, e)
		switch {
		case err == nil:
			return told()
		case errors.Is(err, store.ErrConflict):
			return nil
		case errors.Is(err, ErrOpen):
			stuck = err
			return nil
		}
		return err
	})
	return errors.Join(err, stuck)
}

// envelope is something sealed, and where it is.
type envelope struct {
	name       string // for people
	credential bool   // of a connection
	place      string
	from, to   int64 // the version that the seal is bound to, and that of the next one
	sealed     []byte
	put        func(ctx context.Context, sealed []byte) error
}

// reseal changes nothing but the seal, and the version that the seal is bound to. It is sealed with the very key that opened it: one that
// is shredded meanwhile takes it along, where Vault.Seal would make a new one.
func reseal(ctx context.Context, org delegation.OrgID, key seal.Key, e envelope) error {
	from, err := associated(org, e.place, e.from)
	if err != nil {
		return err
	}
	to, err := associated(org, e.place, e.to)
	if err != nil {
		return err
	}
	plain, err := key.Open(e.sealed, from)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrOpen, e.name)
	}
	defer clear(plain)
	sealed, err := key.Seal(plain, to)
	if err != nil {
		return err
	}
	return stored(e.put(ctx, sealed))
}

// each visits all that is sealed with the org's data key, page by page.
func (r *Rotator) each(ctx context.Context, org delegation.OrgID, visit func(envelope) error) error {
	s := r.org(org)
	err := pages(ctx, s.Connections, func(c store.Connection) string { return c.ID }, func(c store.Connection) error {
		return visit(envelope{
			name: fmt.Sprintf("connection %q", c.ID), credential: true, place: c.ID, from: c.Version, to: c.Version + 1, sealed: c.Sealed,
			// When it was last updated stays: a revocation ends what was put before it, and the credential was.
			put: func(ctx context.Context, sealed []byte) error {
				c.Version, c.Sealed = c.Version+1, sealed
				return s.PutConnection(ctx, c, c.Status)
			},
		})
	})
	if err != nil {
		return err
	}
	err = pages(ctx, s.Clients, func(c store.Client) string { return c.Name }, func(c store.Client) error {
		return visit(envelope{
			name: fmt.Sprintf("client %q", c.Name), place: ForClient(c.Name), from: c.Version, to: c.Version + 1, sealed: c.Sealed,
			put: func(ctx context.Context, sealed []byte) error {
				c.Version, c.Sealed = c.Version+1, sealed
				return s.PutClient(ctx, c)
			},
		})
	})
	if err != nil {
		return err
	}
	err = pages(ctx, s.Authorizations, func(a store.Authorization) string { return a.ID }, func(a store.Authorization) error {
		return visit(envelope{
			name: fmt.Sprintf("authorization %q", a.ID), place: ForAuthorization(a.ID), from: a.Version, to: a.Version,
			sealed: a.Sealed, put: func(ctx context.Context, sealed []byte) error {
				return s.ResealAuthorization(ctx, a.ID, a.Sealed, sealed)
			},
		})
	})
	if err != nil {
		return err
	}
	w, err := s.Webhook(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return visit(envelope{
		name: "the webhook", place: ForWebhook, from: w.Version, to: w.Version, sealed: w.Sealed,
		put: func(ctx context.Context, sealed []byte) error { return s.ResealWebhook(ctx, w.Sealed, sealed) },
	})
}

// pages visits a list that is sorted by a key.
func pages[T any](ctx context.Context, list func(ctx context.Context, after string, limit int) ([]T, error), key func(T) string,
	visit func(T) error) error {
	for after := ""; ; {
		page, err := list(ctx, after, walkPage)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		for _, v := range page {
			if err := visit(v); err != nil {
				return err
			}
		}
		if len(page) < walkPage {
			return nil
		}
		after = key(page[len(page)-1])
	}
}

// open reads the org's data key as it is stored, and as it is.
func (r *Rotator) open(ctx context.Context, org delegation.OrgID) (store.DataKey, seal.Key, error) {
	if _, err := delegation.ParseOrgID(string(org)); err != nil {
		return store.DataKey{}, seal.Key{}, err
	}
	row, err := r.org(org).DataKey(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return store.DataKey{}, seal.Key{}, fmt.Errorf("%w: org %s has no data key", ErrDestroyed, org)
	}
	if err != nil {
		return store.DataKey{}, seal.Key{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	key, err := r.vault.key.Unwrap(row.Sealed, wrapping(org, row.Version))
	if err != nil {
		return store.DataKey{}, seal.Key{}, fmt.Errorf("%w: data key of org %s: %w", ErrOpen, org, err)
	}
	return row, key, nil
}

// stored tells a conflict from a store that did not answer.
func stored(err error) error {
	if err == nil || errors.Is(err, store.ErrConflict) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
