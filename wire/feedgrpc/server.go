// Package feedgrpc carries the feed of revocations and policy over gRPC: FeedService for the token server, and the
// revocation.Stream of a follower.
package feedgrpc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
)

// Policies is where the server finds what followers decide by.
type Policies interface {
	// Orgs returns every org.
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	// Bundle returns an org's policy bundle as JSON and its version; store.ErrNotFound when the org has none.
	Bundle(ctx context.Context, org delegation.OrgID) (version string, document []byte, err error)
}

// Config makes a Server.
type Config struct {
	Hub      *revocation.Hub  // required
	Set      *revocation.Set  // required; the hub's
	Policies Policies         // required
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // required
}

// Server is FeedService.
type Server struct {
	obov1.UnimplementedFeedServiceServer
}

// New returns a Server.
func New(c Config) (*Server, error) { return nil, errors.New("feedgrpc: not written yet") }

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { obov1.RegisterFeedServiceServer(r, s) }
