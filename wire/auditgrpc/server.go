// Package auditgrpc is AuditService: it reads the trail to operators. Who is one is decided before it, by grpcauth.
package auditgrpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Config makes a Server.
type Config struct {
	// Records reads records of one org, oldest first. Required.
	Records func(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error)
	// Poll is how often a tail looks for new records. Default 500 ms.
	Poll time.Duration
}

const (
	defaultPage = 100
	maxPage     = 1000
)

// Server is AuditService.
type Server struct {
	obov1.UnimplementedAuditServiceServer
	c Config
}

// New returns a Server.
func New(c Config) (*Server, error) {
	if c.Records == nil {
		return nil, errors.New("auditgrpc: Records is required")
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	return &Server{c: c}, nil
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { obov1.RegisterAuditServiceServer(r, s) }

// ListRecords implements AuditService.
func (s *Server) ListRecords(ctx context.Context, r *obov1.ListRecordsRequest) (*obov1.ListRecordsResponse, error) {
	org, err := parseOrg(r.GetOrgId())
	if err != nil {
		return nil, err
	}
	if len(r.GetActionId()) > 256 || strings.ContainsFunc(r.GetActionId(), func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		return nil, invalid("action_id", "an action id has at most 256 bytes of printable ASCII") // PostgreSQL has no NUL
	}
	size := int(r.GetPageSize())
	switch {
	case size < 0 || size > maxPage:
		return nil, invalid("page_size", "use 1 to 1000, or 0 for 100")
	case size == 0:
		size = defaultPage
	}
	records, err := s.read(ctx, org, store.AuditQuery{Action: r.GetActionId(), After: r.GetAfter(), Limit: size})
	if err != nil {
		return nil, err
	}
	out := &obov1.ListRecordsResponse{Records: records}
	if len(records) == size { // there may be more; the page after the last is empty
		out.Next = records[size-1].GetSequence()
	}
	return out, nil
}

// TailRecords implements AuditService.
func (s *Server) TailRecords(r *obov1.TailRecordsRequest, out grpc.ServerStreamingServer[obov1.TailRecordsResponse]) error {
	ctx := out.Context()
	org, err := parseOrg(r.GetOrgId())
	if err != nil {
		return err
	}
	after := r.GetAfter()
	if after == 0 {
		if after, err = s.newest(ctx, org); err != nil {
			return err
		}
	}
	// Headers say that the tail has begun: what happens from here on will be in it.
	if err := out.SendHeader(nil); err != nil {
		return err
	}
	tick := time.NewTicker(s.c.Poll)
	defer tick.Stop()
	for {
		records, err := s.read(ctx, org, store.AuditQuery{After: after, Limit: maxPage})
		if err != nil {
			return err
		}
		for _, record := range records {
			if err := out.Send(&obov1.TailRecordsResponse{Record: record}); err != nil {
				return err
			}
			after = record.GetSequence()
		}
		if len(records) == maxPage {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// newest finds the sequence number of an org's newest record, 0 when there is none. The store lists oldest first, so the
// question is put as a search: is there a record after n? It takes two questions for each bit of the answer.
func (s *Server) newest(ctx context.Context, org delegation.OrgID) (uint64, error) {
	more := func(n uint64) (bool, error) {
		records, err := s.read(ctx, org, store.AuditQuery{After: n, Limit: 1})
		return len(records) > 0, err
	}
	// The answer is at least low, and in the end at most high.
	low, high := uint64(0), uint64(1)
	for ; high < 1<<62; high *= 2 {
		found, err := more(high)
		if err != nil {
			return 0, err
		}
		if !found {
			break
		}
		low = high
	}
	for low < high {
		middle := low + (high-low)/2
		found, err := more(middle)
		switch {
		case err != nil:
			return 0, err
		case found:
			low = middle + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// read reads and decodes. A record that does not decode is an error and not left out: a trail with silent holes is none.
func (s *Server) read(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]*obov1.AuditRecord, error) {
	stored, err := s.c.Records(ctx, org, q)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil // an org without records
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Description: "the trail cannot be read now", RetryAfter: time.Second}
	}
	out := make([]*obov1.AuditRecord, len(stored))
	for i := range stored {
		r, err := audit.Decode(stored[i])
		if err != nil {
			return nil, fmt.Errorf("auditgrpc: %w", err)
		}
		out[i] = message(r)
	}
	return out, nil
}

func message(r audit.Record) *obov1.AuditRecord {
	return &obov1.AuditRecord{
		Sequence: r.Sequence, Time: timestamppb.New(r.Time), ActionId: r.ActionID, Kind: r.Kind, Outcome: r.Outcome,
		Reason: r.Reason, OrgId: string(r.Org), Transaction: r.Transaction, TokenId: r.TokenID, Subject: r.Subject,
		Chain: r.Chain, ClientId: r.ClientID, Resource: r.Resource, ScopeAsked: r.ScopeAsked, ScopeGranted: r.ScopeGranted,
		PolicyVersion: r.PolicyVersion, PolicyIds: r.PolicyIDs, TraceId: r.TraceID, Connection: r.Connection,
		Status: int32(r.Status), Lineage: r.Lineage, Detail: r.Detail,
		Administrator: r.Administrator, Role: r.Role, Changes: changes(r.Changes), Authentication: authentication(r.Authentication),
	}
}

func authentication(by *audit.Authentication) *obov1.Authentication {
	if by == nil {
		return nil
	}
	out := &obov1.Authentication{Issuer: by.Issuer, Acr: by.ACR, Amr: by.AMR}
	if !by.AuthTime.IsZero() {
		out.AuthTime = timestamppb.New(by.AuthTime)
	}
	return out
}

func changes(list []audit.Change) []*obov1.Change {
	out := make([]*obov1.Change, len(list))
	for i, c := range list {
		out[i] = &obov1.Change{Path: c.Path, Kind: c.Kind(), Before: c.Before, After: c.After}
	}
	return out
}

// parseOrg takes an org, or the platform's own trail.
func parseOrg(s string) (delegation.OrgID, error) {
	if s == string(store.PlatformOrg) {
		return store.PlatformOrg, nil
	}
	org, err := delegation.ParseOrgID(s)
	if err != nil {
		return "", invalid("org_id", "name an org, such as acme")
	}
	return org, nil
}

func invalid(field, description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidRequest, Field: field, Description: description}
}
