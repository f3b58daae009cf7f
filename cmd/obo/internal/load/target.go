package load

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/delegation/dpop"
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

	FirstDPoP Kind = "first hop + dpop" // with a fresh proof of a key, for a token that is bound to it
	FirstRAR  Kind = "first hop + rar"  // with authorization_details
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{First, Continuation, Delegation, FirstDPoP, FirstRAR} }

// Setup is whom to load and as whom.
type Setup struct {
	STS, Issuer, Audience string
	ClientID              string
	ClientSecret          telemetry.Secret
	UserToken             telemetry.Secret
	ActorID               string
	ActorKey              jose.Signer
	Prover                *dpop.Prover
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
	switch k {
	case First, FirstDPoP:
		return first, nil
	case FirstRAR:
		first.Scope = "tracker:issues:read tracker:bounties:award"
		first.AuthorizationDetails = `[{"type":"tracker_bounty","project":"apollo","dollars":100}]`
		return first, nil
	default:
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

// GRPC is an operation that sends a request of a kind over gRPC, with what each needs anew.
func (t *Target) GRPC(k Kind, r *obov1.ExchangeRequest, fresh *Fresh) Operation {
	return func(ctx context.Context, worker int) error {
		req := r
		if fresh != nil {
			text, err := fresh.take()
			if err != nil {
				return err
			}
			if k == FirstDPoP {
				ctx = metadata.AppendToOutgoingContext(ctx, "dpop", text)
			} else {
				req = proto.CloneOf(r)
				req.ActorToken = text
			}
		}
		_, err := t.Exchange(ctx, worker, req)
		return err
	}
}

// Nonce learns the nonce that proofs need at the moment; empty when they need none (DP4).
func (t *Target) Nonce(ctx context.Context, r *obov1.ExchangeRequest) (string, error) {
	proof, err := t.setup.proof("")
	if err != nil {
		return "", err
	}
	var trailer metadata.MD
	ctx = remote.Basic(metadata.AppendToOutgoingContext(ctx, "dpop", proof), t.setup.ClientID, t.setup.ClientSecret)
	_, err = t.clients[0].Exchange(ctx, r, grpc.Trailer(&trailer))
	if nonces := trailer.Get("dpop-nonce"); len(nonces) == 1 {
		return nonces[0], nil
	}
	return "", err
}

// HTTP is an operation that posts a request's form to the token endpoint.
func HTTP(ctx context.Context, s Setup, r *obov1.ExchangeRequest) (Operation, error) {
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
	return func(ctx context.Context, _ int) error {
		_, err := c.Exchange(ctx, request)
		return err
	}, nil
}
