package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// Kind is what is exchanged.
type Kind string

// The kinds.
const (
	First        Kind = "first hop"    // an ID token that the server has seen before, for a delegation token
	Continuation Kind = "continuation" // a delegation token, for a narrower one of the same actor
	Delegation   Kind = "delegation"   // a delegation token and a fresh assertion of the next agent, for a token of that agent
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{First, Continuation, Delegation} }

// Setup is whom to load and as whom.
type Setup struct {
	STS, Issuer, Audience string
	ClientID              string
	ClientSecret          telemetry.Secret
	UserToken             telemetry.Secret
	ActorID               string
	ActorKey              jose.Signer
	Workers, Connections  int
}

// Target is one server under load, over a fixed number of connections.
type Target struct {
	PID     int // of the server's process; 0 when it is not known
	setup   Setup
	conns   []*grpc.ClientConn
	clients []obov1.ExchangeServiceClient
}

// Connect connects to a server: the token server, or the floor, which is spoken to in the very same way.
func Connect(s Setup, address string) (*Target, error) {
	t := &Target{setup: s}
	for range s.Connections {
		conn, err := remote.Dial(address, "")
		if err != nil {
			t.Close()
			return nil, err
		}
		t.conns = append(t.conns, conn)
		t.clients = append(t.clients, obov1.NewExchangeServiceClient(conn))
	}
	return t, nil
}

// Close closes the connections.
func (t *Target) Close() {
	for _, c := range t.conns {
		_ = c.Close()
	}
}

// Exchange sends one request.
func (t *Target) Exchange(ctx context.Context, worker int, r *obov1.ExchangeRequest) (*obov1.ExchangeResponse, error) {
	ctx = remote.Basic(ctx, t.setup.ClientID, t.setup.ClientSecret)
	return t.clients[worker%len(t.clients)].Exchange(ctx, r)
}

// Request makes the request of a kind; a delegation's lacks its assertion, which each request needs anew.
func (t *Target) Request(ctx context.Context, k Kind) (*obov1.ExchangeRequest, error) {
	first := &obov1.ExchangeRequest{SubjectToken: t.setup.UserToken.Reveal(), SubjectTokenType: remote.TypeIDToken,
		Resource: []string{t.setup.Audience}, Scope: "tracker:issues:read tracker:issues:write"}
	if k == First {
		return first, nil
	}
	first.RequestedExpiresIn = 600 // outlives the run
	root, err := t.Exchange(ctx, 0, first)
	if err != nil {
		return nil, err
	}
	r := &obov1.ExchangeRequest{SubjectToken: root.GetAccessToken(), SubjectTokenType: remote.TypeAccessToken,
		Resource: []string{t.setup.Audience}, Scope: "tracker:issues:read"}
	if k == Delegation {
		r.ActorTokenType = remote.TypeJWT
	}
	return r, nil
}

// Assertions are made ahead of a round, so that the round does not measure the client's own signing. When they run out, more
// are made on the way.
type Assertions struct {
	setup Setup
	ready []string
	same  string // sent every time, to a server that does not look at it
	next  atomic.Int64
}

// Prepare makes n assertions, on all cores.
func (s Setup) Prepare(n int) (*Assertions, error) {
	a := &Assertions{setup: s, ready: make([]string, n)}
	const makers = 4
	errs := make([]error, makers)
	var wg sync.WaitGroup
	for m := range makers {
		wg.Go(func() {
			for i := m; i < n; i += makers {
				token, err := s.assertion()
				if err != nil {
					errs[m] = err
					return
				}
				a.ready[i] = token
			}
		})
	}
	wg.Wait()
	return a, errors.Join(errs...)
}

func (s Setup) assertion() (string, error) {
	token, err := remote.Assertion(s.ActorKey, s.ActorID, s.ActorID, s.Issuer, time.Now())
	return token.Reveal(), err
}

func (a *Assertions) take() (string, error) {
	if a.same != "" {
		return a.same, nil
	}
	if n := a.next.Add(1) - 1; n < int64(len(a.ready)) {
		return a.ready[n], nil
	}
	return a.setup.assertion()
}

// GRPC is an operation that sends a request over gRPC. assertions is nil for kinds without.
func (t *Target) GRPC(r *obov1.ExchangeRequest, assertions *Assertions) Operation {
	return func(ctx context.Context, worker int) error {
		req := r
		if assertions != nil {
			token, err := assertions.take()
			if err != nil {
				return err
			}
			req = proto.CloneOf(r)
			req.ActorToken = token
		}
		_, err := t.Exchange(ctx, worker, req)
		return err
	}
}

// HTTP is an operation that posts a request's form to the token endpoint. assertions is nil for kinds without.
func HTTP(ctx context.Context, s Setup, r *obov1.ExchangeRequest, assertions *Assertions) (Operation, error) {
	door, err := remote.HTTP("", s.Workers)
	if err != nil {
		return nil, err
	}
	server, err := client.Discover(ctx, s.Issuer, door)
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{Server: server, ClientID: s.ClientID, Auth: client.Secret(s.ClientSecret.Reveal()), HTTP: door})
	if err != nil {
		return nil, err
	}
	request := client.Request{Subject: client.Static(r.GetSubjectToken()), SubjectType: r.GetSubjectTokenType(),
		Resource: r.GetResource(), Scope: r.GetScope()}
	if assertions != nil {
		request.Actor = client.SourceFunc(func(context.Context) (string, error) { return assertions.take() })
	}
	return func(ctx context.Context, _ int) error {
		_, err := c.Exchange(ctx, request)
		return err
	}, nil
}
