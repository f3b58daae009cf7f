// Package grpcauth checks the bearer credential of administrators and followers in the `authorization` metadata, and what an
// administrator may call. Agents and their tokens are not its matter: exchange and executor authenticate those.
package grpcauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Config says which service needs which credential.
type Config struct {
	// Bearer maps a full service name, such as "obo.v1.AdminService", to the credential that its callers present.
	Bearer map[string]telemetry.Secret
	// Open lists the services that authenticate their callers themselves or need not. A service in neither is refused: one
	// that is added and forgotten here fails closed.
	Open []string
	// Administrators may call services with tokens of their own. Optional.
	Administrators *Administrators
}

// minCredential is how short a credential may be. Below it, a plain hash is no protection against guessing.
const minCredential = 32

// Guard checks callers. Its methods Unary and Stream are interceptors. It keeps hashes, not credentials.
type Guard struct {
	bearer         atomic.Pointer[hashes]
	open           map[string]bool
	administrators *Administrators
	administered   map[string]bool
}

// hashes are those of the credentials, by service.
type hashes map[string][sha256.Size]byte

// New returns a Guard. It refuses a credential of fewer than 32 bytes and a service that is both guarded and open.
func New(c Config) (*Guard, error) {
	if len(c.Bearer) == 0 {
		return nil, errors.New("grpcauth: no service needs a credential")
	}
	bearer, err := hashed(c.Bearer)
	if err != nil {
		return nil, err
	}
	g := &Guard{open: map[string]bool{}, administrators: c.Administrators, administered: map[string]bool{}}
	g.bearer.Store(&bearer)
	if a := c.Administrators; a != nil {
		if a.Verify == nil || a.Roles == nil || a.Log == nil {
			return nil, errors.New("grpcauth: Administrators needs Verify, Roles and Log")
		}
		for _, service := range a.Services {
			if _, ok := bearer[service]; !ok {
				return nil, fmt.Errorf("grpcauth: %s has no operator's credential", service)
			}
			g.administered[service] = true
		}
	}
	for _, service := range c.Open {
		if _, ok := bearer[service]; ok {
			return nil, fmt.Errorf("grpcauth: %s is both guarded and open", service)
		}
		g.open[service] = true
	}
	return g, nil
}

// Replace puts other credentials in force for the same services. From the next call on the ones before are refused; a stream
// that is open stays open. On an error nothing has changed.
func (g *Guard) Replace(credentials map[string]telemetry.Secret) error {
	bearer, err := hashed(credentials)
	if err != nil {
		return err
	}
	before := *g.bearer.Load()
	for service := range bearer {
		if _, ok := before[service]; !ok {
			return fmt.Errorf("grpcauth: %s was not guarded before", service)
		}
	}
	if len(bearer) != len(before) {
		return errors.New("grpcauth: a service would be without its credential")
	}
	g.bearer.Store(&bearer)
	return nil
}

func hashed(credentials map[string]telemetry.Secret) (hashes, error) {
	out := hashes{}
	for service, credential := range credentials {
		if len(credential) < minCredential {
			return nil, fmt.Errorf("grpcauth: the credential of %s is shorter than %d bytes", service, minCredential)
		}
		out[service] = sha256.Sum256([]byte(credential.Reveal()))
	}
	return out, nil
}

// Unary is a grpc.UnaryServerInterceptor.
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, administered, err := g.check(ctx, info.FullMethod)
	if err == nil && administered {
		err = g.administrators.allow(ctx, Administrator(ctx), info.FullMethod, req)
	}
	if err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// Stream is a grpc.StreamServerInterceptor.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, administered, err := g.check(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if administered {
		ss = &judged{ServerStream: ss, ctx: ctx, method: info.FullMethod, by: g.administrators}
	}
	return handler(srv, ss)
}

// check lets a call pass, and says whether it is an administrator's, who is then in the context and must still be judged. Every
// refusal of a guarded service is the same, so that it tells nothing of the credential.
func (g *Guard) check(ctx context.Context, method string) (_ context.Context, administered bool, err error) {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if g.open[service] {
		return ctx, false, nil
	}
	want, guarded := (*g.bearer.Load())[service]
	got, ok := bearer(ctx)
	if !guarded || !ok {
		return ctx, false, unauthenticated()
	}
	hash := sha256.Sum256([]byte(got))
	// Hashes have one length and the comparison takes one time, so neither tells how much of a guess was right.
	switch own := subtle.ConstantTimeCompare(hash[:], want[:]) == 1; {
	case own && g.administered[service]:
		return context.WithValue(ctx, caller{}, theOperator()), true, nil
	case own:
		return ctx, false, nil
	case !g.administered[service]:
		return ctx, false, unauthenticated()
	}
	who, err := g.administrators.identify(ctx, got)
	return context.WithValue(ctx, caller{}, who), true, err
}

func unauthenticated() error {
	return grpcerr.Error{Reason: grpcerr.InvalidToken, // UNAUTHENTICATED: the caller's own credential (GR1)
		Description: "this service needs its bearer credential in the authorization metadata"}
}

// bearer returns the credential of the one authorization value (RFC 6750 §2.1). Two values are none: a proxy and we might
// choose differently.
func bearer(ctx context.Context) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, credential, ok := strings.Cut(values[0], " ")
	return credential, ok && strings.EqualFold(scheme, "bearer") && credential != ""
}
