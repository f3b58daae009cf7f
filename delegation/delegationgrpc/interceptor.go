package delegationgrpc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
)

const healthService = "/grpc.health.v1.Health/"

// Config is what the interceptors must know.
type Config struct {
	Verifier *delegation.Verifier // of tokens; required. Its AcceptBound has no meaning here
	DPoP     *dpop.Verifier       // of proofs; nil: tokens that are bound to a DPoP key are refused

	// Authorities are the names of this service, with a port that is not 443, as its callers know them behind any proxy, such
	// as "billing.example" or "10.0.0.7:8443". Proofs name one of them, so at least one is required with DPoP.
	Authorities []string

	RequireDPoP bool // take only tokens that come with a proof
}

// Interceptors verify by one configuration. They may be used by many goroutines.
type Interceptors struct {
	config      Config
	authorities map[string]bool
}

// New makes interceptors for services that take DPoP proofs.
func New(config Config) (*Interceptors, error) {
	switch {
	case config.Verifier == nil:
		return nil, errors.New("delegationgrpc: a Verifier is needed")
	case config.RequireDPoP && config.DPoP == nil:
		return nil, errors.New("delegationgrpc: RequireDPoP needs DPoP, or nobody can get in")
	case config.DPoP != nil && len(config.Authorities) == 0:
		return nil, errors.New("delegationgrpc: DPoP needs Authorities: the names by which callers know this service")
	}
	i := &Interceptors{config: config, authorities: map[string]bool{}}
	for _, name := range config.Authorities {
		u, err := url.Parse("https://" + name)
		if err != nil || u.Host != name || u.Hostname() == "" {
			return nil, fmt.Errorf("delegationgrpc: authority %q: want HOST or HOST:PORT", name)
		}
		i.authorities[canonical(name)] = true
	}
	return i, nil
}

// canonical is an authority as it is compared: callers may say the port of https, and in any case.
func canonical(authority string) string {
	return strings.TrimSuffix(strings.ToLower(authority), ":443")
}

// Unary verifies the token of every unary call and puts it into the handler's context. A token that is bound to a client
// certificate needs that certificate on its connection; one that is bound to a DPoP key is refused: see New. It panics when
// v is nil.
func Unary(v *delegation.Verifier) grpc.UnaryServerInterceptor { return mustHave(v).Unary() }

// Stream is Unary for streaming calls: see Interceptors.Stream. It panics when v is nil.
func Stream(v *delegation.Verifier) grpc.StreamServerInterceptor { return mustHave(v).Stream() }

func mustHave(v *delegation.Verifier) *Interceptors {
	if v == nil {
		panic("delegationgrpc: nil Verifier")
	}
	return &Interceptors{config: Config{Verifier: v}}
}

// Unary verifies the token of every unary call and puts it into the handler's context.
func (i *Interceptors) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if strings.HasPrefix(info.FullMethod, healthService) { // GR8
			return handler(ctx, req)
		}
		_, ctx, err := i.admit(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// Stream verifies the token of every streaming call before the handler runs, and again for each message of the client:
// each is a new use, so a stream does not outlive its token or a revocation. A proof is for the call, which is one request;
// what it has proven holds for the messages.
func (i *Interceptors) Stream() grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if strings.HasPrefix(info.FullMethod, healthService) { // GR8
			return handler(srv, stream)
		}
		c, ctx, err := i.admit(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		return handler(srv, &verifiedStream{ServerStream: stream, ctx: ctx, interceptors: i, credentials: c})
	}
}

// RequireScope returns the verified token of the call, or a PERMISSION_DENIED that names the scope when the token does
// not have it.
func RequireScope(ctx context.Context, scope string) (delegation.Verified, error) {
	v, ok := delegation.FromContext(ctx)
	if !ok {
		return delegation.Verified{}, refusal(codes.Unauthenticated, "no token was verified", reasonToken, "invalid_token")
	}
	if !v.Scope().Contains(scope) {
		info := errorInfo(reasonScope, "insufficient_scope")
		info.Metadata["scope"] = scope
		return delegation.Verified{}, withDetails(codes.PermissionDenied, "the token lacks the scope "+scope, info)
	}
	return v, nil
}

type verifiedStream struct {
	grpc.ServerStream
	ctx          context.Context
	interceptors *Interceptors
	credentials  credentials
}

// Context is that of the call, with the verified token.
func (s *verifiedStream) Context() context.Context { return s.ctx }

// RecvMsg receives a message of a client whose token is still good.
func (s *verifiedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	_, err := s.interceptors.verify(s.ctx, s.credentials)
	return err
}
