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
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

// AdminConfig is what an Admin is made of. Every field is required.
type AdminConfig struct {
	Providers *connection.Catalog
	Links     *connection.Links
	Clients   *connection.Clients
	Accounts  Accounts
	Themes    connection.Themes
	Release   Releaser
	Keys      *vault.Rotator
	Events    *Events
	Webhooks  *notify.Webhooks
	Audit     Recorder
	Now       func() time.Time
}

// Releaser revokes grants at their providers. connection.Keeper does.
type Releaser interface {
	Release(ctx context.Context, org delegation.OrgID, c store.Connection) (revoked bool, note string)
}

// Admin changes provider records and connections. Each change is on
// record before it is made, and its failure after. Errors are *Error.
type Admin struct{ AdminConfig }

// NewAdmin makes an Admin.
func NewAdmin(c AdminConfig) (*Admin, error) {
	if c.Providers == nil || c.Links == nil || c.Clients == nil || c.Accounts == nil || c.Themes.Org == nil || c.Themes.Now == nil || c.Release == nil || c.Keys == nil ||
		c.Events == nil || c.Webhooks == nil || c.Audit == nil || c.Now == nil {
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

// ApplyProvidersRequest is an org's whole set of provider records of its own.
type ApplyProvidersRequest struct {
	Org     string
	Records []store.ProviderRecord
	ETag    string // of the set that the caller saw; empty: whatever is in force
	DryRun  bool   // check everything, and say what would change
}

// ApplyProvidersResult says what changed or, of a dry run, would.
type ApplyProvidersResult struct {
	Providers []string // that the org has then, sorted
	ETag      string   // of the set now in force
	Changes   []audit.Change
}

// ApplyProviders replaces the org's own provider records. A set that changes nothing is not applied.
func (a Session) ApplyProviders(ctx context.Context, req ApplyProvidersRequest) (ApplyProvidersResult, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return ApplyProvidersResult{}, err
	}
	providers, err := a.Providers.Check(req.Records)
	if err != nil {
		return ApplyProvidersResult{}, adminError(err)
	}
	seen, err := a.Providers.Records(ctx, id)
	if err != nil {
		return ApplyProvidersResult{}, adminError(err)
	}
	out := ApplyProvidersResult{ETag: connection.ETag(seen), Changes: providerChanges(seen, req.Records)}
	if req.ETag != "" && req.ETag != out.ETag {
		return ApplyProvidersResult{}, staleProviders(seen)
	}
	for _, p := range providers {
		out.Providers = append(out.Providers, p.Name())
	}
	if req.DryRun || len(out.Changes) == 0 {
		return out, nil
	}
	what := fmt.Sprintf("apply %d provider records", len(req.Records))
	err = a.change(ctx, change{org: id, what: what, changes: out.Changes}, func() error {
		return a.Providers.Put(ctx, id, seen, req.Records)
	})
	if err != nil {
		return ApplyProvidersResult{}, err
	}
	out.ETag = connection.ETag(req.Records)
	return out, nil
}

// ProviderRecords are the org's own records as they were applied, in file name order, and the tag of that set.
func (a *Admin) ProviderRecords(ctx context.Context, org string) (records []store.ProviderRecord, etag string, err error) {
	id, err := orgID(org)
	if err != nil {
		return nil, "", err
	}
	records, err = a.Providers.Records(ctx, id)
	return records, connection.ETag(records), adminError(err)
}

// change is one change, for the trail.
type change struct {
	org                       delegation.OrgID
	connection, subject, what string
	changes                   []audit.Change
}

// change records what is about to be done, does it, and records when it failed. What was approved and not followed by
// another record was done, or the process ended in between.
func (a Session) change(ctx context.Context, c change, do func() error) error {
	r := audit.Record{
		ActionID: string(c.org) + "." + uuid.NewString(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved, Org: c.org,
		Time: a.Now(), Transaction: a.who.ID, TokenID: a.who.ID, Administrator: a.who.Subject, Role: a.who.Role, Subject: c.subject,
		TraceID: telemetry.TraceID(ctx), Connection: c.connection, Detail: c.what, Changes: c.changes,
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
