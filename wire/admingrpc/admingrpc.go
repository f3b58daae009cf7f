// Package admingrpc is the operator's door to the authorization server: obo.v1.AdminService. It translates and decides
// nothing; wire/grpcauth has checked the operator's credential before a call gets here.
package admingrpc

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/page"
)

// MaxDocument bounds an org's configuration in bytes.
const MaxDocument = 4 << 20

// Register puts the service on a server whose interceptors authenticate operators.
func Register(s grpc.ServiceRegistrar, a *admin.Service, r Roster) {
	obov1.RegisterAdminServiceServer(s, server{admin: a, roster: r})
}

type server struct {
	obov1.UnimplementedAdminServiceServer
	admin  *admin.Service
	roster Roster
}

// as is the service for whoever makes the call: wire/grpcauth has authenticated and judged the caller.
func (s server) as(ctx context.Context) admin.Session { return s.admin.As(grpcauth.Administrator(ctx)) }

// ListOrgs implements AdminService.
func (s server) ListOrgs(ctx context.Context, in *obov1.ListOrgsRequest) (*obov1.ListOrgsResponse, error) {
	p, err := page.Of(in)
	if err != nil {
		return nil, err
	}
	after := delegation.OrgID(p.After)
	if _, err := delegation.ParseOrgID(p.After); err != nil && after != "" {
		return nil, page.Invalid()
	}
	orgs, err := s.admin.ListOrgs(ctx, after, p.Size)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListOrgsResponse{OrgIds: make([]string, len(orgs))}
	for i, id := range orgs {
		out.OrgIds[i] = string(id)
	}
	out.NextPageToken = page.Full(p, out.OrgIds, func(id string) string { return id })
	return out, nil
}

// GetOrg implements AdminService.
func (s server) GetOrg(ctx context.Context, in *obov1.GetOrgRequest) (*obov1.GetOrgResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	got, err := s.admin.GetOrg(ctx, org)
	if err != nil {
		return nil, render(err)
	}
	return &obov1.GetOrgResponse{Document: got.Document, Version: got.Version}, nil
}

// ApplyOrg implements AdminService.
func (s server) ApplyOrg(ctx context.Context, in *obov1.ApplyOrgRequest) (*obov1.ApplyOrgResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	if len(in.GetDocument()) > MaxDocument {
		return nil, invalid("document", "the document is larger than 4 MiB")
	}
	got, err := s.as(ctx).ApplyOrg(ctx, admin.ApplyOrgRequest{
		Org: org, Document: in.GetDocument(), ExpectedVersion: in.GetExpectedVersion(), DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.ApplyOrgResponse{Version: got.Version, Changes: changes(got.Changes)}, nil
}

// ApplyPlatform implements AdminService.
func (s server) ApplyPlatform(ctx context.Context, in *obov1.ApplyPlatformRequest) (*obov1.ApplyPlatformResponse, error) {
	files := make([]policy.File, len(in.GetPolicies()))
	for i, f := range in.GetPolicies() {
		files[i] = policy.File{Name: f.GetName(), Text: f.GetText()}
	}
	got, err := s.as(ctx).ApplyPlatform(ctx, admin.ApplyPlatformRequest{
		Policies: files, ExpectedVersion: in.ExpectedVersion, DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.ApplyPlatformResponse{Version: got.Version, Changes: changes(got.Changes)}, nil
}

// RotateClientSecret implements AdminService.
func (s server) RotateClientSecret(ctx context.Context, in *obov1.RotateClientSecretRequest) (*obov1.RotateClientSecretResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	got, err := s.as(ctx).RotateClientSecret(ctx, admin.RotateClientSecretRequest{
		Org: org, Agent: in.GetAgent(), DropPrevious: in.GetDropPrevious(), DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.RotateClientSecretResponse{
		ClientId: got.ClientID, ClientSecret: got.Secret.Reveal(), Changes: changes(got.Changes),
	}, nil
}

// RotateScimToken implements AdminService.
func (s server) RotateScimToken(ctx context.Context, in *obov1.RotateScimTokenRequest) (*obov1.RotateScimTokenResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	got, err := s.as(ctx).RotateScimToken(ctx, admin.RotateScimTokenRequest{
		Org: org, DropPrevious: in.GetDropPrevious(), DryRun: in.GetDryRun(),
	})
	if err != nil {
		return nil, render(err)
	}
	return &obov1.RotateScimTokenResponse{Token: got.Token.Reveal(), Changes: changes(got.Changes)}, nil
}

// Revoke implements AdminService. Without an org it is about the server's own administrators.
func (s server) Revoke(ctx context.Context, in *obov1.RevokeRequest) (*obov1.RevokeResponse, error) {
	org, err := orgOrServer(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	req := admin.RevokeRequest{Org: org, Kind: in.GetKind(), ID: in.GetId(), Reason: in.GetReason(), Provider: in.GetProvider(),
		Departed: in.GetDeparted(), DryRun: in.GetDryRun()}
	if t := in.GetSince(); t != nil {
		if !t.IsValid() {
			return nil, invalid("since", "since must be a time")
		}
		req.Since = t.AsTime()
	}
	got, err := s.as(ctx).Revoke(ctx, req)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.RevokeResponse{Revocation: revocation(got), Sequence: got.Sequence}
	hits, err := s.admin.Hits(ctx, got)
	switch {
	case err != nil && req.DryRun:
		return nil, render(err)
	case err != nil:
		out.Uncounted = true
	default:
		out.Total, out.Tokens = uint32(hits.Total), liveTokens(hits.Tokens)
	}
	return out, nil
}

// ListRevocations implements AdminService.
func (s server) ListRevocations(ctx context.Context, in *obov1.ListRevocationsRequest) (*obov1.ListRevocationsResponse, error) {
	org, err := orgOrServer(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	p, err := page.Of(in)
	if err != nil {
		return nil, err
	}
	after, err := sequence(p)
	if err != nil {
		return nil, err
	}
	entries, err := s.admin.ListRevocations(ctx, org, after, p.Size)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListRevocationsResponse{Revocations: make([]*obov1.Revocation, len(entries))}
	for i, r := range entries {
		out.Revocations[i] = revocation(r)
	}
	out.NextPageToken = page.Full(p, entries, func(r store.Revocation) string { return strconv.FormatUint(r.Sequence, 10) })
	return out, nil
}

// sequence is the key of a page whose items have numbers.
func sequence(p page.Page) (uint64, error) {
	if p.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.After, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != p.After {
		return 0, page.Invalid()
	}
	return n, nil
}

func changes(list []registry.Change) []*obov1.Change {
	out := make([]*obov1.Change, len(list))
	for i, c := range list {
		out[i] = &obov1.Change{Path: c.Path, Kind: c.Kind, Before: c.Before, After: c.After}
	}
	return out
}

func orgID(text string) (delegation.OrgID, error) {
	org, err := delegation.ParseOrgID(text)
	if err != nil {
		return "", invalid("org_id", "org_id must be 1 to 63 of a-z, 0-9 and hyphen, with no hyphen at either end")
	}
	return org, nil
}

// orgOrServer is orgID, and for no org the server itself: wire/grpcauth has let nobody but operators ask for that.
func orgOrServer(text string) (delegation.OrgID, error) {
	if text == "" {
		return store.PlatformOrg, nil
	}
	return orgID(text)
}

func invalid(field, description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidRequest, Field: field, Description: description}
}

// render gives a refusal its place in the table of grpcerr. A document's problems come all at once, each with its path.
func render(err error) error {
	if bad, ok := errors.AsType[*registry.InvalidError](err); ok {
		e := grpcerr.Error{Reason: grpcerr.InvalidRequest, Description: "the configuration is not valid"}
		for _, p := range bad.Problems {
			e.Violations = append(e.Violations, grpcerr.Violation{Field: p.Path, Description: p.Message})
		}
		return e
	}
	if bad, ok := errors.AsType[*policy.InvalidError](err); ok {
		e := grpcerr.Error{Reason: grpcerr.InvalidRequest, Description: "the policies are not valid"}
		for _, p := range bad.Problems {
			e.Violations = append(e.Violations, grpcerr.Violation{Field: p.File, Description: p.String()})
		}
		return e
	}
	description := strings.TrimPrefix(err.Error(), "admin: ")
	switch {
	case errors.Is(err, admin.ErrInvalid):
		return grpcerr.Error{Reason: grpcerr.InvalidRequest, Description: description}
	case errors.Is(err, admin.ErrNotFound):
		return grpcerr.Error{Reason: grpcerr.NotFound, Description: description}
	case errors.Is(err, admin.ErrForbidden):
		return grpcerr.Error{Reason: grpcerr.AccessDenied, Description: description}
	case errors.Is(err, admin.ErrConflict):
		return grpcerr.Error{Reason: grpcerr.Conflict, Description: description}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Description: "the change was not confirmed: read, then try again",
		RetryAfter: time.Second, Cause: err}
}
