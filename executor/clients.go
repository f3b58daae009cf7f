package executor

import (
	"context"
	"fmt"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/store"
)

// PutClientRequest is a client with its secret.
type PutClientRequest struct {
	Org             string
	Registration    connection.Registration
	ExpectedVersion *int64 // that the caller saw, 0 when there was none; nil: whatever there is
	DryRun          bool   // check everything, and say what would be
}

// PutClient creates the org's client at a provider or an issuer, or replaces it, and answers with how it is then.
func (a Session) PutClient(ctx context.Context, req PutClientRequest) (store.Client, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return store.Client{}, err
	}
	p, err := a.Clients.Propose(ctx, id, req.Registration)
	if err != nil {
		return store.Client{}, clientError(err)
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != p.Before.Version {
		return store.Client{}, staleClient(p.Before, *req.ExpectedVersion)
	}
	if req.DryRun {
		return p.After, nil
	}
	c := change{org: id, changes: clientChanges(p.Before, p.After), what: "put client " + p.After.Name}
	return p.After, a.change(ctx, c, func() error { return clientError(a.Clients.Put(ctx, id, p)) })
}

// ListClients lists by name the org's clients after one, at most limit. Their sealed secrets are not for showing.
func (a *Admin) ListClients(ctx context.Context, org, after string, limit int) ([]store.Client, error) {
	id, err := orgID(org)
	if err != nil {
		return nil, err
	}
	clients, err := a.Clients.Page(ctx, id, after, limit)
	return clients, clientError(err)
}

// DeleteClientRequest names a client.
type DeleteClientRequest struct {
	Org, Name       string
	ExpectedVersion *int64
	DryRun          bool
}

// DeleteClient deletes a client, and answers with how it was.
func (a Session) DeleteClient(ctx context.Context, req DeleteClientRequest) (store.Client, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return store.Client{}, err
	}
	before, err := a.Clients.Get(ctx, id, req.Name)
	if err != nil {
		return store.Client{}, clientError(err)
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != before.Version {
		return store.Client{}, staleClient(before, *req.ExpectedVersion)
	}
	if req.DryRun {
		return before, nil
	}
	c := change{org: id, changes: clientChanges(before, store.Client{}), what: "delete client " + before.Name}
	return before, a.change(ctx, c, func() error { return clientError(a.Clients.Delete(ctx, id, before.Name, before.Version)) })
}

// clientChanges is a change of a client; version 0 stands for none. Of a secret it says whether there is one.
func clientChanges(before, after store.Client) []audit.Change {
	var c audit.Change
	if before.Version > 0 {
		c.Path, c.Before = "clients/"+before.Name, clientText(before)
	}
	if after.Version > 0 {
		c.Path, c.After = "clients/"+after.Name, clientText(after)
	}
	return []audit.Change{c}
}

func clientText(c store.Client) string {
	return text(struct {
		ClientID     string            `json:"client_id"`
		Confidential bool              `json:"confidential"`
		Settings     map[string]string `json:"settings,omitempty"`
		Version      int64             `json:"version"`
	}{c.ClientID, Confidential(c), c.Settings, c.Version})
}

// Confidential reports whether a client has a secret.
func Confidential(c store.Client) bool { return len(c.Sealed) > 0 }

func staleClient(now store.Client, saw int64) *Error {
	if now.Version == 0 {
		return &Error{Reason: Conflict, Description: fmt.Sprintf(
			"there is no such client, and version %d was expected: expect version 0 to create it", saw)}
	}
	return &Error{Reason: Conflict, Description: fmt.Sprintf("the client has version %d, since %s, and not version %d, which the change was "+
		"made of: read it, see whether the change still holds, and send it with that version", now.Version,
		now.Updated.UTC().Format(time.RFC3339), saw)}
}

// clientError says of what there is none.
func clientError(err error) error {
	err = adminError(err)
	if e, ok := err.(*Error); ok && e.Reason == NotFound { //nolint:errorlint // adminError makes it
		return &Error{Reason: NotFound, Description: "there is no such client", cause: e.cause}
	}
	return err
}
