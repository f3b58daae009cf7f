package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// PerRPC makes credentials that add a token, and the proof of its key, to each call: of a whole connection with
// grpc.WithPerRPCCredentials, or of one call with grpc.PerRPCCredentials, so that one connection serves many users. A server
// that may ask for nonces needs grpc.WithUnaryInterceptor(c.Unary) too.
func (c *Client) PerRPC(r Request) credentials.PerRPCCredentials { return perRPC{c, r} }

type perRPC struct {
	c *Client
	r Request
}

// Format is the client's.
func (p perRPC) Format(f fmt.State, verb rune) { p.c.Format(f, verb) }

// RequireTransportSecurity leaves the question to GetRequestMetadata, which lets a connection in the clear only to loopback.
func (perRPC) RequireTransportSecurity() bool { return false }

// GetRequestMetadata is called by gRPC for each attempt of a call.
func (p perRPC) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	at, err := methodURL(ctx, uri)
	if err != nil {
		return nil, err
	}
	t, err := p.c.Token(ctx, p.r)
	if err != nil {
		return nil, grpcError(err)
	}
	if err := p.c.usable(t); err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if strings.EqualFold(t.Type, "Bearer") {
		return map[string]string{"authorization": "Bearer " + t.AccessToken}, nil
	}
	server := "rs " + origin(at)
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.server = server
	}
	proof, err := p.c.dpop.Proof(http.MethodPost, at.String(), p.c.nonces.get(server), t.AccessToken) // DP10
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "client: cannot make a proof: "+err.Error())
	}
	return map[string]string{"authorization": "DPoP " + t.AccessToken, "dpop": proof}, nil
}

// attempt learns which server a call went to.
type attempt struct{ server string }

type attemptKey struct{}

// Unary is a grpc.UnaryClientInterceptor: it remembers the nonces that servers send, and makes a call once more that was refused
// for want of one (DP4, DP10). A call that is refused so has done nothing.
func (c *Client) Unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption) error {
	for again := false; ; again = true {
		var trailer metadata.MD
		a := &attempt{}
		err := invoke(context.WithValue(ctx, attemptKey{}, a), method, req, reply, cc,
			append(opts[:len(opts):len(opts)], grpc.Trailer(&trailer))...)
		nonce := a.server != "" && c.nonces.put(a.server, trailer.Get("dpop-nonce"))
		if again || !nonce || status.Code(err) != codes.Unauthenticated {
			return err
		}
	}
}

// methodURL is the URL of a method as a proof names it, https://AUTHORITY/SERVICE/METHOD (DP10). A connection that others can
// read is refused: a bearer token would be theirs (TX20).
func methodURL(ctx context.Context, uri []string) (*url.URL, error) {
	info, ok := credentials.RequestInfoFromContext(ctx)
	if !ok || len(uri) != 1 {
		return nil, status.Error(codes.Internal, "client: gRPC did not say which method is called")
	}
	u, err := url.Parse(uri[0])
	if err != nil {
		return nil, status.Error(codes.Internal, "client: gRPC named a method that is no URL")
	}
	if credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) != nil {
		if !loopback(u.Hostname()) {
			return nil, status.Error(codes.Unauthenticated, "client: no token over a connection without TLS, but to loopback")
		}
		u.Scheme = "http"
	}
	u.Path = info.Method
	return u, nil
}

// grpcError is an error in gRPC's words: who waits for a token when the token server is away must be told to try again, not
// that its credential is bad.
func grpcError(err error) error {
	var e *Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.As(err, &e) && !e.Temporary():
		return status.Error(codes.Unauthenticated, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}

// origin is scheme and host, under which a server's nonces are kept.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
