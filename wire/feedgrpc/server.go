// Package feedgrpc carries the feed of revocations and policy over gRPC: FeedService for the token server, and the
// revocation.Feed of a follower.
package feedgrpc

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Policies is where the server finds what followers decide by.
type Policies interface {
	// Orgs returns every org.
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	// Bundle returns an org's policy bundle as JSON and its version; store.ErrNotFound when the org has none. Once the
	// hub's OnChange has returned for a change, Bundle MUST NOT return what was before it.
	Bundle(ctx context.Context, org delegation.OrgID) (version string, document []byte, err error)
}

// Config makes a Server.
type Config struct {
	Hub      *revocation.Hub    // required
	Roster   *revocation.Roster // required
	Policies Policies           // required
	Now      func() time.Time   // default time.Now
	Log      *slog.Logger       // required
}

const (
	helloWithin = 5 * time.Second // of the opening of a stream

)

// Server is FeedService. Who may call it is decided before it, by grpcauth.
//
// What many followers are sent is read once and encoded once. A follower costs its stream, and a place in the hub's
// backlog: one that reads slowly holds up nobody, and is sent away when the backlog has gone past it.
type Server struct {
	obov1.UnimplementedFeedServiceServer
	c      Config
	shared shared
}

// New returns a Server.
func New(c Config) (*Server, error) {
	if c.Hub == nil || c.Roster == nil || c.Policies == nil || c.Log == nil {
		return nil, errors.New("feedgrpc: Hub, Roster, Policies and Log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{c: c, shared: newShared(c)}, nil
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { obov1.RegisterFeedServiceServer(r, s) }

// outlet is the server's end of a stream.
type outlet = grpc.BidiStreamingServer[obov1.FollowRequest, obov1.FollowResponse]

// Follow implements FeedService.
//
// The subscription comes before what the follower lacks is read. The other way round, a change that is made between the two
// would be in neither, and the follower would honour a revoked token until it expires. So some changes are in both; entries
// and bundles replace their like, so that harms nothing. And the roster comes before the subscription: a replica whose head
// was read before a follower joined tells that follower all up to that head before it answers anything.
func (s *Server) Follow(out outlet) error {
	ctx, cancel := context.WithCancelCause(out.Context())
	defer cancel(nil)
	requests := make(chan *obov1.FollowRequest)
	go receive(ctx, cancel, out, requests)
	hello, err := awaitHello(ctx, requests)
	if err != nil {
		return err
	}
	select {
	case <-s.c.Hub.Ready():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// A follower takes its first heartbeat as fresh, so a server that cannot reach its store lets nobody in.
	if err := s.c.Hub.Sync(ctx); err != nil {
		return unavailable("the server cannot reach its store")
	}
	member, err := s.c.Roster.Join(hello, address(out.Context()))
	if err != nil {
		return grpcerr.Error{Reason: grpcerr.RateLimited, Description: "this replica has all the followers that it can take",
			RetryAfter: time.Second}
	}
	defer member.Leave()
	f := newFollowing(s, ctx, out, hello, member)
	f.watchdog = time.AfterFunc(hello.StaleAfter, func() { cancel(errSilent) })
	defer f.watchdog.Stop()
	go f.confirmations(cancel, requests)
	// Sending waits for a follower that does not read, and only the end of the stream, which is the handler's, frees it.
	ended := make(chan error, 1)
	broke := make(chan any, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				broke <- p
			}
		}()
		ended <- f.run()
	}()
	select {
	case err := <-ended:
		return err
	case p := <-broke:
		panic(p) // where the interceptor of the server takes it
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errSilent ends the stream of a follower that is silent for longer than its bound: so the server knows when it was last told
// anything, and from when on it refuses.
var errSilent = unavailable("the follower was silent for longer than its bound")

// receive passes the follower's messages on. It ends with the stream: when the handler has returned, Recv does.
func receive(ctx context.Context, cancel context.CancelCauseFunc, out outlet, to chan<- *obov1.FollowRequest) {
	for {
		in, err := out.Recv()
		if err != nil {
			cancel(err)
			return
		}
		select {
		case to <- in:
		case <-ctx.Done():
			return
		}
	}
}

func awaitHello(ctx context.Context, requests <-chan *obov1.FollowRequest) (revocation.Hello, error) {
	late := time.NewTimer(helloWithin)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return revocation.Hello{}, context.Cause(ctx)
	case <-late.C:
		return revocation.Hello{}, invalid("hello", "the first message did not come")
	case in := <-requests:
		return parseHello(in)
	}
}

func parseHello(in *obov1.FollowRequest) (revocation.Hello, error) {
	h := in.GetHello()
	if h == nil {
		return revocation.Hello{}, invalid("hello", "a follower's first message says who it is")
	}
	name, err := revocation.ParseName(h.GetName())
	if err != nil {
		return revocation.Hello{}, invalid("hello.name", "must be 1 to 63 of letters, digits, '.', '_', ':' and '-'")
	}
	if n := len(h.GetInstance()); n < 16 || n > 64 || strings.ContainsFunc(h.GetInstance(), notAlphanumeric) {
		return revocation.Hello{}, invalid("hello.instance", "must be 16 to 64 letters and digits")
	}
	stale := h.GetStaleAfter().AsDuration()
	if !h.GetStaleAfter().IsValid() || stale < time.Second || stale > time.Minute {
		return revocation.Hello{}, invalid("hello.stale_after", "must be 1 s to 60 s")
	}
	return revocation.Hello{Name: name, Instance: h.GetInstance(), StaleAfter: stale, Policies: h.GetPolicies(),
		After: revocation.Position{Sequence: h.GetAfter().GetSequence(), Mark: h.GetAfter().GetMark()}}, nil
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// address is whence a stream comes.
func address(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}

func invalid(field, description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidRequest, Field: field, Description: description}
}

func unavailable(description string) error {
	return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Description: description, RetryAfter: time.Second}
}
