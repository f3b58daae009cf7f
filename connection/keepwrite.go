package connection

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// persist stores a new grant before anybody uses it. A connection that was changed meanwhile and still has the token that was spent
// gets it all the same; one that was ended, deleted or connected again does not, and the new grant is let go.
func (k *Keeper) persist(
	ctx context.Context, org delegation.OrgID, c store.Connection, s spending, grant Grant,
) (store.Connection, Outcome) {
	now := k.Now()
	ctx, cancel := context.WithTimeout(ctx, persistFor)
	defer cancel()
	refresh := grant.Refresh
	if refresh == nil {
		refresh = bytes.Clone(s.refresh) // never overwrite one with nothing
	}
	credential := vault.NewGrant(grant.Access, refresh)
	defer clear(grant.Access)
	defer clear(refresh)
	stored, kept, err := k.write(ctx, org, c, s.refresh, &credential, func(next *store.Connection) {
		next.Status, next.StatusReason = StatusActive, ""
		next.Expires = grant.Expires.UTC().Truncate(time.Microsecond)
		next.Renew = renewAt(now, grant.Expires, true).UTC().Truncate(time.Microsecond)
		next.Due = due(now, s.g, true, grant.RefreshExpires).UTC().Truncate(time.Microsecond)
		next.Hint = hint(grant.Access, OAuth)
		if grant.Scopes != nil {
			next.Scopes = grant.Scopes
		}
		if grant.Account != "" {
			next.Account = grant.Account
		}
		next.Settings = merged(next.Settings, grant.Settings)
	})
	switch {
	case err != nil:
		k.Log.ErrorContext(ctx, "a new grant could not be stored and is lost", "org", org, "connection", c.ID, "error", err)
		if s.g.rotation == RotationNever || s.g.rotation == RotationKept { // what there was is good still
			return c, Outcome{Result: ResultTransient, Evidence: "the new grant could not be stored"}
		}
		return c, Outcome{Result: ResultUncertain, Evidence: "the new grant could not be stored"}
	case kept:
		return stored, Outcome{Result: ResultRefreshed}
	}
	if spendable(stored) { // connected again: to revoke what came of the old grant could revoke the new one too
		return stored, Outcome{Result: ResultLostRace}
	}
	k.letGo(ctx, org, s.p, c, credential)
	if out, over := ended(stored); over {
		return stored, out
	}
	return stored, Outcome{Result: ResultRevoked, Evidence: "the connection was deleted"}
}

// conclude puts on record what an outcome means for the connection, unless it was changed meanwhile: then somebody else was faster.
// What may pass changes nothing, and neither does what asks for nobody while the access token is good.
func (k *Keeper) conclude(
	ctx context.Context, org delegation.OrgID, c store.Connection, spent []byte, n need, out Outcome,
) (store.Connection, Outcome) {
	over := out.Result == ResultRevoked || out.Result == ResultExpired
	mayPass := out.Result == ResultOperatorConfig || out.Result == ResultUncertain
	if out.Result == ResultTransient || !spendable(c) || n.ahead && mayPass {
		return c, out
	}
	stored, kept, err := k.write(ctx, org, c, spent, nil, func(next *store.Connection) {
		switch out.Result {
		case ResultRevoked:
			next.Status = StatusRevoked
		case ResultExpired:
			next.Status = StatusExpired
		case ResultStepUp:
			next.Status = StatusNeedsConsent
		default:
			next.Status = StatusError
		}
		next.StatusReason, next.Renew, next.Due = out.reason(), time.Time{}, time.Time{}
		if over {
			next.Sealed, next.Expires = nil, time.Time{}
		}
	})
	switch {
	case err != nil:
		k.Log.ErrorContext(ctx, "the end of a connection could not be recorded", "org", org, "connection", c.ID, "error", err)
		return c, out
	case kept:
		return stored, out
	case usable(stored, k.Now()):
		return stored, Outcome{Result: ResultLostRace}
	}
	if was, over := ended(stored); over {
		return stored, was
	}
	return stored, Outcome{Result: ResultTransient, Evidence: "it was changed meanwhile"}
}

// refusedKey notes that a provider does not take a user's own key, so that the user is asked for another. The key stays and may be tried
// again: the refusal of one call is not certain to be that of the key.
func (k *Keeper) refusedKey(ctx context.Context, org delegation.OrgID, c store.Connection) (store.Connection, Outcome) {
	out := Outcome{Result: ResultRevoked, Evidence: "the provider refuses the key"}
	if c.Status != StatusActive || Pattern(c.Pattern).Shared() {
		return c, out
	}
	var stored store.Connection
	err := k.writeOnce(ctx, org, c, nil, func(next *store.Connection) {
		next.Status, next.StatusReason = StatusError, out.reason()
	}, &stored)
	if err != nil { // somebody else says so, or has put another key, or the next call finds out
		if !errors.Is(err, store.ErrConflict) {
			k.Log.WarnContext(ctx, "that a key is refused could not be recorded", "org", org, "connection", c.ID, "error", err)
		}
		return c, out
	}
	return stored, out
}

// write changes a connection that still has the refresh token that was spent, with a new credential or, when that is nil, the one it
// has, sealed again for the new version. kept is false when the connection is another's by now; then it comes as it is. What the store
// does not take at once is tried again until ctx ends.
func (k *Keeper) write(
	ctx context.Context, org delegation.OrgID, c store.Connection, spent []byte, credential *vault.Credential, change func(*store.Connection),
) (stored store.Connection, kept bool, err error) {
	var closed []byte // what was read last and does not open
	for wait := pollEvery; ; wait = min(2*wait, 2*time.Second) {
		err := k.writeOnce(ctx, org, c, credential, change, &stored)
		if err == nil {
			return stored, true, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			select {
			case <-ctx.Done():
				return c, false, err
			case <-time.After(wait):
			}
		}
		// Also after an error: a store that fails may have done it first.
		current, err := k.Org(org).Connection(ctx, c.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return store.Connection{}, false, nil
		case err != nil:
			continue
		case current.Version == stored.Version && bytes.Equal(current.Sealed, stored.Sealed) && current.Status == stored.Status:
			return current, true, nil
		}
		same, err := k.has(ctx, org, current, spent)
		switch {
		case errors.Is(err, vault.ErrOpen) && bytes.Equal(current.Sealed, closed): // and was not sealed again: its data key was destroyed
			return current, false, nil
		case errors.Is(err, vault.ErrOpen):
			closed = current.Sealed
			continue
		case err != nil:
			continue
		case !same:
			return current, false, nil
		}
		c = current
	}
}

// writeOnce makes one attempt. What it tries to store is in stored.
func (k *Keeper) writeOnce(
	ctx context.Context, org delegation.OrgID, c store.Connection, credential *vault.Credential, change func(*store.Connection),
	stored *store.Connection,
) error {
	next := c
	next.Version++
	change(&next)
	var err error
	switch {
	case credential != nil:
		next.Sealed, err = k.Vault.Seal(ctx, org, next.ID, next.Version, *credential)
	case Holds(next):
		err = k.Vault.Use(ctx, org, c, func(same vault.Credential) (err error) {
			next.Sealed, err = k.Vault.Seal(ctx, org, next.ID, next.Version, same)
			return err
		})
	}
	if err != nil {
		return err
	}
	*stored = next
	return k.Org(org).PutConnection(ctx, next, c.Status)
}

// has reports whether a connection still has a refresh token.
func (k *Keeper) has(ctx context.Context, org delegation.OrgID, c store.Connection, token []byte) (bool, error) {
	if !Holds(c) {
		return false, nil
	}
	refresh, err := k.refreshToken(ctx, org, c)
	if errors.Is(err, vault.ErrDestroyed) {
		return false, nil
	}
	defer clear(refresh)
	return subtle.ConstantTimeCompare(refresh, token) == 1, err
}

// letGo revokes a grant of a connection's account at the provider that nobody will use. That it cannot be is no failure of anything.
func (k *Keeper) letGo(ctx context.Context, org delegation.OrgID, p Provider, c store.Connection, credential vault.Credential) {
	if _, err := k.revoke(ctx, org, p, c, credential); err != nil {
		k.Log.WarnContext(ctx, "a grant that nobody uses could not be revoked at the provider", "org", org, "provider", p.name, "error", err)
	}
}

// revoke revokes a grant at the provider, and reports whether it has a way to.
func (k *Keeper) revoke(
	ctx context.Context, org delegation.OrgID, p Provider, c store.Connection, credential vault.Credential,
) (supported bool, err error) {
	if can, _ := p.Revokes(); !can {
		return false, nil
	}
	if err := k.alone(ctx, org, p, c); err != nil {
		return true, err
	}
	return true, k.lend(ctx, org, p.name, func(client Client) error {
		client.Settings = merged(client.Settings, c.Settings)
		r, err := p.RevokeRequest(ctx, client, credential)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, sendFor)
		defer cancel()
		response, err := k.client.Do(r.WithContext(ctx))
		if err != nil {
			return errors.New("no answer")
		}
		defer response.Body.Close()
		if !p.Revoked(response.StatusCode) {
			return errors.New("the provider answers " + response.Status)
		}
		return nil
	})
}

// stillUsed names another connection that would end with a grant.
type stillUsed string

func (id stillUsed) Error() string {
	return "connection " + string(id) + " is of the same account, and would end too: the provider hears of it when the last of them goes"
}

// alone refuses when the end of a connection's grant would be that of another connection's too. Whose account is not known may be anyone's
// of the same user.
func (k *Keeper) alone(ctx context.Context, org delegation.OrgID, p Provider, c store.Connection) error {
	if !p.oauth.revoke.account {
		return nil
	}
	for other, err := range each(ctx, k.Org(org)) {
		if err != nil {
			return err
		}
		known := other.Account != "" && c.Account != ""
		if other.ID != c.ID && other.Provider == p.name && Pattern(other.Pattern) == OAuth && spendable(other) &&
			(known && other.Account == c.Account || !known && other.Subject == c.Subject) {
			return stillUsed(other.ID)
		}
	}
	return nil
}

// Release revokes a connection's grant at its provider, where that has a way to, and says what is left to do when it was not. The
// connection itself stays as it is.
func (k *Keeper) Release(ctx context.Context, org delegation.OrgID, c store.Connection) (revoked bool, note string) {
	p, ok, err := k.Providers.Provider(ctx, org, c.Provider)
	switch {
	case err != nil || !ok:
		return false, "the org has no record of the provider any more"
	case !Holds(c):
		return false, "there was no credential any more"
	case Pattern(c.Pattern) != OAuth:
		return false, "a key is ended at the provider by whoever made it there"
	}
	if can, otherwise := p.Revokes(); !can {
		return false, otherwise
	}
	err = k.Vault.Use(ctx, org, c, func(credential vault.Credential) error {
		_, err := k.revoke(ctx, org, p, c, credential)
		return err
	})
	if used, ok := errors.AsType[stillUsed](err); ok {
		return false, used.Error()
	}
	if err != nil {
		k.Log.WarnContext(ctx, "a grant could not be revoked at the provider", "org", org, "connection", c.ID, "provider", p.name, "error", err)
		return false, "the provider did not confirm it: end the access in the account's settings there"
	}
	return true, ""
}
