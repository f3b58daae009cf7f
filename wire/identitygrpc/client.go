package identitygrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// The errors of a Client wrap one of these.
var (
	// ErrRefused: the token server does not take the ID token, and would not if it were asked again.
	ErrRefused = errors.New("identitygrpc: the ID token is refused")
	// ErrUnavailable: no token server has said whose it is. Nothing is known; the same question may be asked again.
	ErrUnavailable = errors.New("identitygrpc: no token server says whose the ID token is")
)

// The bounds of one question to one server. A server that must find an issuer's keys first waits 5 s for each of two documents.
const (
	answerWithin = 12 * time.Second
	maxAnswer    = 64 << 10
)

// Client asks token servers who signed in.
//
// Each question has a connection of its own, as each stream of the feed has: people sign in seldom, and a connection that lived on
// would have died unnoticed or wait out grpc-go's growing pauses.
type Client struct {
	// Endpoints are the token servers, asked in this order until one knows.
	Endpoints []Endpoint
	// Token returns the follower credential. It is asked for each question, so that a new one takes effect.
	Token func() (telemetry.Secret, error)
	// Dial connects instead of the network, for tests. Optional.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Endpoint is one token server.
type Endpoint struct {
	Address string // host:port
	// TLS says whom to trust. Without it the credential and the ID token travel in the clear: only for a loopback address.
	TLS *tls.Config
}

// Identify tells as whom somebody signed in to an org: the subject as delegation tokens carry it. The ID token was issued to
// clientID, in answer to the request that nonce is of.
func (c Client) Identify(
	ctx context.Context, org delegation.OrgID, idToken telemetry.Secret, clientID, nonce string,
) (subject string, err error) {
	credential, err := c.Token()
	if err != nil {
		return "", fmt.Errorf("%w: the follower credential: %w", ErrUnavailable, err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credential.Reveal())
	in := &obov1.IdentifyRequest{OrgId: string(org), IdToken: idToken.Reveal(), ClientId: clientID, Nonce: nonce}
	var away []error
	for _, e := range c.Endpoints {
		subject, err := c.ask(ctx, e, in)
		switch {
		case err == nil:
			return subject, nil
		case refused(err):
			return "", fmt.Errorf("%w: %w", ErrRefused, err)
		}
		away = append(away, fmt.Errorf("%s: %w", e.Address, err))
	}
	return "", fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(away...))
}

// ask asks one server, and takes no answer that is of another org (threat: tenant mix-up).
func (c Client) ask(ctx context.Context, e Endpoint, in *obov1.IdentifyRequest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	transport := insecure.NewCredentials()
	if e.TLS != nil {
		transport = credentials.NewTLS(e.TLS)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer))}
	if c.Dial != nil {
		options = append(options, grpc.WithContextDialer(c.Dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+e.Address, options...)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	out, err := obov1.NewIdentityServiceClient(conn).Identify(ctx, in)
	if err != nil {
		return "", err
	}
	if of, _, _, err := delegation.ParseUserID(out.GetSubject()); err != nil || string(of) != in.GetOrgId() {
		return "", errAnswer
	}
	return out.GetSubject(), nil
}

var errAnswer = errors.New("the answer names no user of the org")

// refused reports whether a server has judged the question: only our own word for that counts, and not that of a proxy.
func refused(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == grpcerr.Domain {
			reason := grpcerr.Reason(info.GetReason())
			return reason == grpcerr.SubjectTokenInvalid || reason == grpcerr.InvalidRequest
		}
	}
	return false
}
