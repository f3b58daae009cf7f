package executor

import (
	"context"
	"fmt"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/store"
)

// PutConnectionRequest is a connection with its credential.
type PutConnectionRequest struct {
	Org             string
	Link            connection.Link
	ExpectedVersion *int64 // that the caller saw, 0 when there was none; nil: whatever there is
	DryRun          bool   // check everything, and say what would be
}

// PutConnection creates a connection, or replaces its credential, and answers with how it is then.
func (a Session) PutConnection(ctx context.Context, req PutConnectionRequest) (store.Connection, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return store.Connection{}, err
	}
	p, err := a.Links.Propose(ctx, id, req.Link)
	if err != nil {
		return store.Connection{}, adminError(err)
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != p.Before.Version {
		return store.Connection{}, staleConnection(p.Before, *req.ExpectedVersion)
	}
	if req.DryRun {
		return p.After, nil
	}
	c := change{
		org: id, connection: req.Link.ID, subject: req.Link.Subject, changes: connectionChanges(p.Before, p.After),
		what: fmt.Sprintf("put %s connection to %s", req.Link.Pattern, req.Link.Provider),
	}
	return p.After, a.change(ctx, c, func() error { return a.Links.Put(ctx, id, p) })
}

// ListConnections lists by id the org's connections after one, at most limit, which is at most store.MaxPage. Their sealed
// credentials are not for showing.
func (a *Admin) ListConnections(ctx context.Context, org, after string, limit int) ([]store.Connection, error) {
	id, err := orgID(org)
	if err != nil {
		return nil, err
	}
	conns, err := a.Links.Page(ctx, id, after, limit)
	return conns, adminError(err)
}

// GetConnection is one connection.
func (a *Admin) GetConnection(ctx context.Context, org, name string) (store.Connection, error) {
	id, err := orgID(org)
	if err != nil {
		return store.Connection{}, err
	}
	c, err := a.Links.Get(ctx, id, name)
	return c, adminError(err)
}

// DeleteConnectionRequest names a connection.
type DeleteConnectionRequest struct {
	Org, Connection string
	ExpectedVersion *int64 // that the caller saw; nil: whatever there is
	DryRun          bool   // check everything, and say what would go
}

// Deleted is a connection as it was, and what became of its grant at the provider.
type Deleted struct {
	store.Connection
	Revoked bool   // at the provider
	Note    string // when not: why, and what is left to do
}

// DeleteConnection revokes a connection's grant at the provider, where that has a way to, and deletes it with its credential. What the
// provider does not do keeps nothing from being deleted here.
func (a Session) DeleteConnection(ctx context.Context, req DeleteConnectionRequest) (Deleted, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return Deleted{}, err
	}
	if !connection.ValidID(req.Connection) {
		return Deleted{}, invalid("connection", "connection must be 1 to 63 of [a-z0-9-], with no hyphen at either end")
	}
	before, err := a.Links.Get(ctx, id, req.Connection)
	if err != nil {
		return Deleted{}, adminError(err)
	}
	var version int64 // any: what is to go is to go, even when its credential was refreshed just now
	if req.ExpectedVersion != nil {
		if version = *req.ExpectedVersion; version != before.Version {
			return Deleted{}, staleConnection(before, version)
		}
	}
	if req.DryRun {
		return Deleted{Connection: before}, nil
	}
	c := change{
		org: id, connection: before.ID, subject: before.Subject, what: "delete connection",
		changes: connectionChanges(before, store.Connection{}),
	}
	out := Deleted{Connection: before}
	err = a.change(ctx, c, func() error {
		out.Revoked, out.Note = a.Release.Release(ctx, id, before)
		return a.Links.Delete(ctx, id, before.ID, version)
	})
	return out, err
}

// ShredOrg destroys the org's data key, and says how many connections lost their credential or, of a dry run, would.
func (a Session) ShredOrg(ctx context.Context, org string, dryRun bool) (int, error) {
	id, err := orgID(org)
	if err != nil {
		return 0, err
	}
	conns, err := a.Links.List(ctx, id)
	if err != nil {
		return 0, adminError(err)
	}
	lost, changes := 0, []audit.Change{{Path: "data_key", Before: `"present"`}}
	for _, c := range conns {
		if connection.Holds(c) {
			lost++
			changes = append(changes, connectionChanges(c, connection.Ended(c, connection.ReasonShredded))...)
		}
	}
	if dryRun {
		return lost, nil
	}
	err = a.change(ctx, change{org: id, what: "shred the org's data key", changes: changes}, func() (err error) {
		lost, err = a.Links.Shred(ctx, id)
		return err
	})
	return lost, err
}
