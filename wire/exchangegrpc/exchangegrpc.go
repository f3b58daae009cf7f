// Package exchangegrpc is the first door to the authorization server: obo.v1.ExchangeService. It translates and decides
// nothing: the same exchange service stands behind the HTTP door.
package exchangegrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/onbehalf/obo/exchange"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// maxMessage bounds a request. The server's own limit is that of the largest message of any of its services.
const maxMessage = 64 << 10

// Exchanger is the authorization server: *exchange.Service. Every refusal MUST be an *exchange.Error; anything else is shown as
// INTERNAL_ERROR.
type Exchanger interface {
	Exchange(ctx context.Context, cred exchange.Credential, req exchange.Request) (exchange.Response, error)
	Introspect(ctx context.Context, cred exchange.Credential, token string, signed bool) (exchange.Introspection, error)
	RevokeToken(ctx context.Context, cred exchange.Credential, token, hint string) error
}

// Config is what the door needs.
type Config struct {
	// Exchange does the work.
	Exchange Exchanger
	// Hosts are those under which clients call this door, without ports: a proof of possession names one of them (DP10).
	Hosts []string
}

// Register puts the service on a server.
func Register(s grpc.ServiceRegistrar, cfg Config) {
	obov1.RegisterExchangeServiceServer(s, server{exchange: cfg.Exchange, hosts: cfg.Hosts})
}

type server struct {
	obov1.UnimplementedExchangeServiceServer
	exchange Exchanger
	hosts    []string
}

// Exchange implements RFC 8693 section 2, and the other grants of RFC 6749 section 4.
func (s server) Exchange(ctx context.Context, in *obov1.ExchangeRequest) (*obov1.ExchangeResponse, error) {
	cred, err := s.enter(ctx, in, obov1.ExchangeService_Exchange_FullMethodName)
	if err != nil {
		return nil, err
	}
	out, err := s.exchange.Exchange(ctx, cred, exchange.Request{
		Grant: in.GetGrantType(), Assertion: in.GetAssertion(),
		RequestContext: in.GetRequestContext(), RequestDetails: in.GetRequestDetails(),
		SubjectToken: in.GetSubjectToken(), SubjectTokenType: in.GetSubjectTokenType(),
		ActorToken: in.GetActorToken(), ActorTokenType: in.GetActorTokenType(),
		Resource: present(in.GetResource()), Audience: present(in.GetAudience()), Scope: in.GetScope(),
		RequestedTokenType:   in.GetRequestedTokenType(),
		AuthorizationDetails: in.GetAuthorizationDetails(),
		RequestedExpiresIn:   int(in.GetRequestedExpiresIn()),
		MayAct:               in.GetMayAct(),
	})
	if err != nil {
		return nil, render(ctx, err)
	}
	giveNonce(ctx, out.Nonce)
	return &obov1.ExchangeResponse{
		AccessToken: out.AccessToken, IssuedTokenType: out.IssuedTokenType, TokenType: out.TokenType,
		ExpiresIn: int32(out.ExpiresIn), Scope: out.Scope, ActionId: out.ActionID, AuthorizationDetails: out.AuthorizationDetails,
	}, nil
}

// Introspect implements RFC 7662 section 2, and RFC 9701.
func (s server) Introspect(ctx context.Context, in *obov1.IntrospectRequest) (*obov1.IntrospectResponse, error) {
	cred, err := s.enter(ctx, in, obov1.ExchangeService_Introspect_FullMethodName)
	if err != nil {
		return nil, err
	}
	out, err := s.exchange.Introspect(ctx, cred, in.GetToken(), in.GetSigned())
	if err != nil {
		return nil, render(ctx, err)
	}
	if in.GetSigned() { // what is signed is said once: nobody may take the word of the connection for it
		return &obov1.IntrospectResponse{Jwt: out.JWT}, nil
	}
	return &obov1.IntrospectResponse{Active: out.Active, Claims: string(out.Claims)}, nil
}

// RevokeToken implements RFC 7009 section 2.
func (s server) RevokeToken(ctx context.Context, in *obov1.RevokeTokenRequest) (*obov1.RevokeTokenResponse, error) {
	cred, err := s.enter(ctx, in, obov1.ExchangeService_RevokeToken_FullMethodName)
	if err != nil {
		return nil, err
	}
	if err := s.exchange.RevokeToken(ctx, cred, in.GetToken(), in.GetTokenTypeHint()); err != nil {
		return nil, render(ctx, err)
	}
	return &obov1.RevokeTokenResponse{}, nil
}

// enter does what every method begins with.
func (s server) enter(ctx context.Context, in proto.Message, method string) (exchange.Credential, error) {
	if proto.Size(in) > maxMessage {
		return exchange.Credential{}, grpcerr.Error{Reason: grpcerr.InvalidRequest, Field: "message",
			Description: "the message is larger than 65536 bytes"}
	}
	return s.credential(ctx, method)
}

// giveNonce puts the nonce for the next proof in the trailer (DP10).
func giveNonce(ctx context.Context, nonce string) {
	if nonce != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("dpop-nonce", nonce)) // fails only outside of a call
	}
}

// present drops empty values: they count as absent (TE3).
func present(values []string) []string {
	for i, v := range values {
		if v != "" {
			continue
		}
		kept := append([]string(nil), values[:i]...)
		for _, v := range values[i+1:] {
			if v != "" {
				kept = append(kept, v)
			}
		}
		return kept
	}
	return values
}

// render gives a refusal its place in the table of grpcerr, whose reasons are the same words.
func render(ctx context.Context, err error) error {
	e, ok := errors.AsType[*exchange.Error](err)
	if !ok {
		return err // the context's, or a bug: the interceptor knows
	}
	giveNonce(ctx, e.Nonce)
	out := grpcerr.Error{
		Reason: grpcerr.Reason(e.Reason), OAuth: e.Reason.OAuth(),
		Description: e.Description, Field: e.Field, RetryAfter: e.RetryAfter, Cause: e.Unwrap(),
	}
	if e.ActionID != "" {
		out.Metadata = map[string]string{"actionId": e.ActionID} // the trail has the refusal under it
	}
	return out
}
