package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// AdminConfig is what an Admin is made of. Every field is required.
type AdminConfig struct {
	Providers *connection.Catalog
	Links     *connection.Links
	Audit     Recorder
	Now       func() time.Time
}

// Admin changes provider records and connections. Each change is on
// record before it is made, and its failure after. Errors are *Error.
type Admin struct{ AdminConfig }

// NewAdmin makes an Admin.
func NewAdmin(c AdminConfig) (*Admin, error) {
	if c.Providers == nil || c.Links == nil || c.Audit == nil || c.Now == nil {
		return nil, errors.New("executor: AdminConfig needs every field")
	}
	return &Admin{c}, nil
}

// Session is the Admin as one administrator uses it. Only a session can change anything, so every change has a name to it.
type Session struct {
	*Admin
	who delegation.Administrator
}

// As is the Admin for an administrator who has been authenticated, and allowed to make the call.
func (a *Admin) As(who delegation.Administrator) Session { return Session{a, who} }

// ApplyProviders replaces the org's own provider records, and names the providers that the org has then, sorted. A dry run
// only checks.
func (a Session) ApplyProviders(ctx context.Context, org string, records []store.ProviderRecord, dryRun bool) ([]string, error) {
	id, err := orgID(org)
	if err != nil {
		return nil, err
	}
	providers, err := a.Providers.Check(records)
	if err != nil {
		return nil, adminError(err)
	}
	names := make([]string, len(providers))
	for i, p := range providers {
		names[i] = p.Name()
	}
	if dryRun {
		return names, nil
	}
	seen, err := a.Providers.Records(ctx, id)
	if err != nil {
		return nil, adminError(err)
	}
	return names, a.change(ctx, change{org: id, what: fmt.Sprintf("apply %d provider records", len(records))}, func() error {
		return a.Providers.Put(ctx, id, seen, records)
	})
}

// ProviderRecords are the org's own records as they were applied, in file name order.
func (a *Admin) ProviderRecords(ctx context.Context, org string) ([]store.ProviderRecord, error) {
	id, err := orgID(org)
	if err != nil {
		return nil, err
	}
	records, err := a.Providers.Records(ctx, id)
	return records, adminError(err)
}

// PutConnection creates a connection, or replaces its credential.
func (a Session) PutConnection(ctx context.Context, org string, link connection.Link) (store.Connection, error) {
	id, err := orgID(org)
	if err != nil {
		return store.Connection{}, err
	}
	if err := a.Links.Check(ctx, id, link); err != nil {
		return store.Connection{}, adminError(err)
	}
	var out store.Connection
	err = a.change(ctx, change{
		org: id, connection: link.ID, subject: link.Subject, what: fmt.Sprintf("put %s connection to %s", link.Pattern, link.Provider),
	}, func() (err error) {
		out, err = a.Links.Put(ctx, id, link)
		return err
	})
	return out, err
}

// ListConnections lists by id the org's connections after one, at most limit, which is at most store.MaxPage. Their sealed credentials
// are not for showing.
func (a *Admin) ListConnections(ctx context.Context, org, after string, limit int) ([]store.Connection, error) {
	id, err := orgID(org)
	if err != nil {
		return nil, err
	}
	conns, err := a.Links.Page(ctx, id, after, limit)
	return conns, adminError(err)
}

// DeleteConnection deletes a connection and its credential.
func (a Session) DeleteConnection(ctx context.Context, org, connectionID string) error {
	id, err := orgID(org)
	if err != nil {
		return err
	}
	if !connection.ValidID(connectionID) {
		return invalid("connection", "connection must be 1 to 63 of [a-z0-9-], with no hyphen at either end")
	}
	return a.change(ctx, change{org: id, connection: connectionID, what: "delete connection"}, func() error {
		return a.Links.Delete(ctx, id, connectionID)
	})
}

// ShredOrg destroys the org's data key, and says how many connections lost their credential.
func (a Session) ShredOrg(ctx context.Context, org string) (int, error) {
	id, err := orgID(org)
	if err != nil {
		return 0, err
	}
	lost := 0
	err = a.change(ctx, change{org: id, what: "shred the org's data key"}, func() (err error) {
		lost, err = a.Links.Shred(ctx, id)
		return err
	})
	return lost, err
}

// change is one change, for the trail.
type change struct {
	org                       delegation.OrgID
	connection, subject, what string
}

// change records what is about to be done, does it, and records when it failed. What was approved and not followed by
// another record was done, or the process ended in between.
func (a Session) change(ctx context.Context, c change, do func() error) error {
	r := audit.Record{
		ActionID: string(c.org) + "." + uuid.NewString(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved, Org: c.org,
		Time: a.Now(), Transaction: a.who.ID, TokenID: a.who.ID, Administrator: a.who.Subject, Role: a.who.Role, Subject: c.subject,
		TraceID: telemetry.TraceID(ctx), Connection: c.connection, Detail: c.what,
	}
	if a.who.Subject == "" {
		return &Error{Reason: AccessDenied, Description: "nobody makes this change"}
	}
	if err := a.Audit.Record(ctx, r); err != nil {
		return unavailable("the change cannot be recorded, so it was not made", err)
	}
	err := adminError(do())
	if err == nil {
		return nil
	}
	r.Time, r.Outcome = a.Now(), audit.OutcomeFailed
	var e *Error
	if errors.As(err, &e) {
		e.ActionID, r.Reason = r.ActionID, string(e.Reason)
		if e.Reason == DependencyUnavailable { // a store that fails may have done it first
			r.Outcome = audit.OutcomeUnknown
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	if recordErr := a.Audit.Record(ctx, r); recordErr != nil {
		return unavailable("the change failed, and the failure cannot be recorded", errors.Join(err, recordErr))
	}
	return err
}

func orgID(org string) (delegation.OrgID, error) {
	id, err := delegation.ParseOrgID(org)
	if err != nil {
		return "", invalid("org_id", "org_id must be 1 to 63 of [a-z0-9-], with no hyphen at either end")
	}
	return id, nil
}

// adminError turns what the layers below answer into an *Error.
func adminError(err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, connection.ErrRecord):
		return &Error{Reason: InvalidRequest, Field: "providers", Description: err.Error(), cause: err}
	case errors.Is(err, connection.ErrInvalid):
		return &Error{Reason: InvalidRequest, Field: "connection", Description: err.Error(), cause: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Reason: NotFound, Description: "there is no such connection", cause: err}
	case errors.Is(err, store.ErrConflict):
		return &Error{Reason: Conflict, Description: "it was changed meanwhile; read it again", cause: err}
	}
	return unavailable("the store cannot be reached now", err)
}
