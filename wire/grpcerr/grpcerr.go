// Package grpcerr renders errors as google.rpc.Status: one gRPC code, exactly one ErrorInfo of domain "obo.dev" that
// carries the OAuth error code, and the details that tell a client what to do (AIP-193; standards GR1 to GR5).
//
// A door turns its service's error into an Error and returns it. Whatever else comes back from a handler, a panic
// included, reaches the client as INTERNAL_ERROR and nothing more; the cause goes to our log.
package grpcerr

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the ErrorInfo domain of every error of ours (GR2).
const Domain = "obo.dev"

// OAuthKey is the ErrorInfo metadata key that holds the OAuth error code.
const OAuthKey = "oauthError"

// Bounds of what an error may say: status details stay under 8 KiB (GR10).
const (
	maxText       = 512
	maxField      = 128
	maxViolation  = 256
	maxViolations = 16
	maxMetadata   = 8
)

// Error is an error as the caller may see it. Only Reason is required.
type Error struct {
	Reason Reason
	// Code overrides the table's gRPC code; OK means the table's.
	Code codes.Code
	// OAuth overrides the table's OAuth error code; empty means the table's.
	OAuth string
	// Description is for people: what is wrong and what to do, without tokens. It is cut at 512 bytes and cleaned to the
	// character set of RFC 6749 section 5.2, so the caller's own text cannot break a log or a header (TE8).
	Description string
	// Field is the request field at fault. It adds a BadRequest detail; for a reason that is sometimes a mistake and
	// sometimes a refusal (INVALID_TARGET, INVALID_SCOPE) it also chooses INVALID_ARGUMENT over PERMISSION_DENIED (GR3).
	Field string
	// Violations are several faults at once, at most 16; they follow Field.
	Violations []Violation
	// RetryAfter adds a RetryInfo detail when positive.
	RetryAfter time.Duration
	// Metadata is added to the ErrorInfo; keys are lowerCamelCase (GR2).
	Metadata map[string]string
	// Cause is for our own log: it never reaches the caller.
	Cause error
}

// Violation is one fault of a request.
type Violation struct {
	Field       string // its path, such as agents/researcher/scopes
	Description string
}

// Error implements error. It holds nothing that the client may not see.
func (e Error) Error() string { return string(e.Reason) + ": " + Clean(e.Description) }

// Unwrap is the cause, for errors.Is and our own log.
func (e Error) Unwrap() error { return e.Cause }

// GRPCStatus renders the error; grpc-go calls it when a handler returns an Error.
func (e Error) GRPCStatus() *status.Status {
	r, ok := rows[e.Reason]
	if !ok {
		e, r = Error{Reason: InternalError}, rows[InternalError]
	}
	if e.Reason == InternalError {
		e.Description = "internal error"
	}
	code := cmp.Or(e.Code, r.code)
	if e.Code == codes.OK && r.refused != codes.OK && e.Field == "" && len(e.Violations) == 0 {
		code = r.refused
	}
	s, err := status.New(code, Clean(e.Description)).WithDetails(e.details(r)...)
	if err != nil { // only a message that cannot be marshalled
		return status.New(codes.Internal, "internal error")
	}
	return s
}

// details are the status details: exactly one ErrorInfo, and each other kind at most once (GR2).
func (e Error) details(r row) []protoadapt.MessageV1 {
	metadata := map[string]string{}
	if len(e.Metadata) <= maxMetadata {
		for k, v := range e.Metadata {
			metadata[k] = Clean(v)
		}
	}
	if oauth := cmp.Or(e.OAuth, r.oauth); oauth != "" {
		metadata[OAuthKey] = oauth
	}
	out := []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: string(e.Reason), Domain: Domain, Metadata: maps.Clone(metadata)},
	}
	var bad errdetails.BadRequest
	if e.Field != "" {
		bad.FieldViolations = append(bad.FieldViolations, violation(Violation{e.Field, e.Description}))
	}
	for _, v := range e.Violations[:min(len(e.Violations), maxViolations)] {
		bad.FieldViolations = append(bad.FieldViolations, violation(v))
	}
	if len(bad.FieldViolations) > 0 {
		out = append(out, &bad)
	}
	switch v := violation(Violation{e.Field, e.Description}); e.Reason {
	case RateLimited:
		out = append(out, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
			{Subject: cmp.Or(v.GetField(), "requests"), Description: v.GetDescription()},
		}})
	case InteractionRequired:
		out = append(out, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: string(e.Reason), Subject: cmp.Or(v.GetField(), "user"), Description: v.GetDescription()},
		}})
	}
	if e.RetryAfter > 0 {
		out = append(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	return out
}

func violation(v Violation) *errdetails.BadRequest_FieldViolation {
	return &errdetails.BadRequest_FieldViolation{Field: cut(Clean(v.Field), maxField), Description: cut(Clean(v.Description), maxViolation)}
}

// From makes an error fit for the wire: an Error, or a status that carries our ErrorInfo, stays as it is; the end of the
// caller's patience is CANCELLED or DEADLINE_EXCEEDED; anything else becomes INTERNAL_ERROR with no inner text. The second
// result says that the fault is on our side of the wire, so that the server logs the cause.
func From(err error) (wire error, fault bool) {
	if e, ok := errors.AsType[Error](err); ok {
		return e, e.Reason == InternalError || e.Reason == DependencyUnavailable
	}
	switch {
	case err == nil:
		return nil, false
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller cancelled"), false
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the caller's deadline passed"), false
	}
	if s, ok := status.FromError(err); ok && ours(s) {
		return err, false
	}
	return Error{Reason: InternalError}, true
}

// ours reports whether a status was made here, or by grpc-go itself about the transport (GR5).
func ours(s *status.Status) bool {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return true
		}
	}
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Unavailable, codes.Unimplemented:
		return true
	}
	return false
}

// Clean keeps the characters that RFC 6749 section 5.2 allows in error_description (%x20-21 %x23-5B %x5D-7E), writes
// an apostrophe for a quotation mark and "?" for anything else, and cuts at 512 bytes (TE8).
func Clean(text string) string {
	text = cut(text, maxText)
	for i := range len(text) {
		if !plain(text[i]) {
			return clean([]byte(text))
		}
	}
	return text
}

func clean(text []byte) string {
	for i, c := range text {
		switch {
		case c == '"':
			text[i] = '\''
		case !plain(c):
			text[i] = '?'
		}
	}
	return string(text)
}

func plain(c byte) bool { return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\' }

func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n-3] + "..."
}
