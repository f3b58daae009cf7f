// Package delegationgrpc lets a gRPC service accept delegation tokens in one line:
//
//	grpc.NewServer(
//		grpc.UnaryInterceptor(delegationgrpc.Unary(verifier)),
//		grpc.StreamInterceptor(delegationgrpc.Stream(verifier)))
//
// A handler then asks delegation.FromContext. The caller's token travels in the metadata as "authorization: Bearer …".
// Health checks (grpc.health.v1.Health) need no token.
package delegationgrpc

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onbehalf/obo/delegation"
)

// The names in ErrorInfo (GR2, GR3).
const (
	errorDomain       = "obo.dev"
	reasonToken       = "INVALID_TOKEN"
	reasonScope       = "INSUFFICIENT_SCOPE"
	reasonUnavailable = "DEPENDENCY_UNAVAILABLE"
	retryAfter        = time.Second
)

const healthService = "/grpc.health.v1.Health/"

// Unary verifies the token of every unary call and puts it into the handler's context. It panics when v is nil.
func Unary(v *delegation.Verifier) grpc.UnaryServerInterceptor {
	mustHave(v)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, err := verify(ctx, v, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// Stream verifies the token of every streaming call before the handler runs, and again for each message of the client:
// each is a new use, so a stream does not outlive its token or a revocation. It panics when v is nil.
func Stream(v *delegation.Verifier) grpc.StreamServerInterceptor {
	mustHave(v)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, err := verify(stream.Context(), v, info.FullMethod)
		if err != nil {
			return err
		}
		return handler(srv, &verifiedStream{ServerStream: stream, ctx: ctx, verifier: v, method: info.FullMethod})
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
	ctx      context.Context
	verifier *delegation.Verifier
	method   string
}

// Context is that of the call, with the verified token.
func (s *verifiedStream) Context() context.Context { return s.ctx }

// RecvMsg receives a message of a client whose token is still good.
func (s *verifiedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	_, err := verify(s.ServerStream.Context(), s.verifier, s.method)
	return err
}

func mustHave(v *delegation.Verifier) {
	if v == nil {
		panic("delegationgrpc: nil Verifier")
	}
}

func verify(ctx context.Context, v *delegation.Verifier, method string) (context.Context, error) {
	if strings.HasPrefix(method, healthService) { // GR8
		return ctx, nil
	}
	token, err := bearer(ctx)
	if err != nil {
		return nil, err
	}
	verified, err := v.Verify(ctx, token)
	switch {
	case err == nil:
		return delegation.NewContext(ctx, verified), nil
	case errors.Is(err, delegation.ErrUnavailable):
		return nil, withDetails(codes.Unavailable, "the token cannot be verified now",
			errorInfo(reasonUnavailable, "temporarily_unavailable"),
			&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	message := "the token was refused: " + delegation.Describe(err)
	return nil, refusal(codes.Unauthenticated, message, reasonToken, "invalid_token")
}

// bearer finds the one token of a call. Two are refused: which of them counts would be anybody's guess.
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return "", refusal(codes.Unauthenticated, "no bearer token", reasonToken, "invalid_token")
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if len(values) > 1 || !found || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refusal(codes.Unauthenticated, "want one authorization: Bearer TOKEN", reasonToken, "invalid_request")
	}
	return token, nil
}

func errorInfo(reason, oauth string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: map[string]string{"oauthError": oauth}}
}

func refusal(code codes.Code, message, reason, oauth string) error {
	return withDetails(code, message, errorInfo(reason, oauth))
}

func withDetails(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	s := status.New(code, message)
	if detailed, err := s.WithDetails(details...); err == nil {
		s = detailed
	}
	return s.Err()
}
