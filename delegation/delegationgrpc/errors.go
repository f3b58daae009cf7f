package delegationgrpc

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The names in ErrorInfo (GR2, GR3).
const (
	errorDomain       = "obo.dev"
	reasonToken       = "INVALID_TOKEN"
	reasonProof       = "INVALID_DPOP_PROOF"
	reasonNonce       = "USE_DPOP_NONCE"
	reasonScope       = "INSUFFICIENT_SCOPE"
	reasonUnavailable = "DEPENDENCY_UNAVAILABLE"
	retryAfter        = time.Second
)

func errorInfo(reason, oauth string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: map[string]string{"oauthError": oauth}}
}

func refusal(code codes.Code, message, reason, oauth string) error {
	return withDetails(code, message, errorInfo(reason, oauth))
}

// unavailable is the answer when it cannot be known whether the token is good.
func unavailable() error {
	return withDetails(codes.Unavailable, "the token cannot be verified now", errorInfo(reasonUnavailable, "temporarily_unavailable"),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
}

func withDetails(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	s := status.New(code, message)
	if detailed, err := s.WithDetails(details...); err == nil {
		s = detailed
	}
	return s.Err()
}
