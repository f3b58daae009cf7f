package exchange

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reason says why an exchange was refused, finer than OAuth's codes: the audit trail, gRPC (ErrorInfo.reason) and tests
// tell refusals apart by it. The OAuth code of each is fixed (OAuth), so both doors say the same (GR3, GR9).
type Reason string

// The reasons.
const (
	InvalidRequest              Reason = "INVALID_REQUEST"               // a parameter is missing or malformed
	SubjectTokenInvalid         Reason = "SUBJECT_TOKEN_INVALID"         // bad, expired, revoked, foreign or mislabelled
	ActorTokenInvalid           Reason = "ACTOR_TOKEN_INVALID"           // the same of the actor_token
	DelegationDenied            Reason = "DELEGATION_DENIED"             // well-formed and proven, and not allowed
	InvalidTarget               Reason = "INVALID_TARGET"                // resource or audience (RFC 8707 §2)
	InvalidScope                Reason = "INVALID_SCOPE"                 // malformed, unknown, or wider than the parent
	InvalidAuthorizationDetails Reason = "INVALID_AUTHORIZATION_DETAILS" // RFC 9396 §5
	InvalidClient               Reason = "INVALID_CLIENT"                // the caller's own credential
	InvalidGrant                Reason = "INVALID_GRANT"                 // the assertion of the jwt-bearer grant; a revocation of another's token
	UnsupportedGrantType        Reason = "UNSUPPORTED_GRANT_TYPE"        //
	UnsupportedTokenType        Reason = "UNSUPPORTED_TOKEN_TYPE"        // RFC 7009 §2.2.1
	InvalidProof                Reason = "INVALID_DPOP_PROOF"            // RFC 9449 §5
	UseNonce                    Reason = "USE_DPOP_NONCE"                // RFC 9449 §8; Nonce is set
	InteractionRequired         Reason = "INTERACTION_REQUIRED"          // only the user can help (JG7)
	UnauthorizedClient          Reason = "UNAUTHORIZED_CLIENT"           // the client may not use this grant at all
	DependencyUnavailable       Reason = "DEPENDENCY_UNAVAILABLE"        // something needed is away: fail closed
	RateLimited                 Reason = "RATE_LIMITED"                  // try later
	Internal                    Reason = "INTERNAL_ERROR"                // a bug; nothing of the cause is shown
)

// OAuth is the code of RFC 6749 §5.2 and its extensions. RFC 8693 §2.2.2 folds a bad token and a policy's refusal into
// invalid_request (TX7); "server_error" and "temporarily_unavailable" are borrowed from RFC 6749 §4.1.2.1 (TE15).
func (r Reason) OAuth() string {
	switch r {
	case InvalidRequest, SubjectTokenInvalid, ActorTokenInvalid, DelegationDenied:
		return "invalid_request"
	case InvalidTarget:
		return "invalid_target"
	case InvalidScope:
		return "invalid_scope"
	case InvalidAuthorizationDetails:
		return "invalid_authorization_details"
	case InvalidClient:
		return "invalid_client"
	case UnauthorizedClient:
		return "unauthorized_client"
	case InvalidGrant:
		return "invalid_grant"
	case UnsupportedGrantType:
		return "unsupported_grant_type"
	case UnsupportedTokenType:
		return "unsupported_token_type"
	case InvalidProof:
		return "invalid_dpop_proof"
	case UseNonce:
		return "use_dpop_nonce"
	case InteractionRequired:
		return "insufficient_user_authentication"
	case DependencyUnavailable, RateLimited:
		return "temporarily_unavailable"
	default:
		return "server_error"
	}
}

// Error is a refusal. Everything but the cause may be shown to the caller.
type Error struct {
	Reason      Reason
	Description string // one sentence for people; printable ASCII without quotes and backslashes (TE8); no token in it
	// Field is the request parameter that is malformed or whose token is bad, by its RFC 8693 name. It is empty when the
	// request is in order and is refused: that is the line between INVALID_ARGUMENT and PERMISSION_DENIED (GR3).
	Field      string
	RetryAfter time.Duration // for DependencyUnavailable and RateLimited; zero otherwise
	ActionID   string        // under which the trail has the refusal; empty when it was not recorded
	Nonce      string        // for UseNonce: what the next proof must have

	cause    error
	evidence evidence
}

// evidence is what policy said on the way to a refusal, for the audit record.
type evidence struct {
	version  string
	policies []string
}

// Error never shows the cause: it may quote what a stranger sent.
func (e *Error) Error() string {
	if e.Description == "" {
		return "exchange: " + string(e.Reason)
	}
	return "exchange: " + string(e.Reason) + ": " + e.Description
}

// Unwrap is the cause, for our own log and for errors.Is.
func (e *Error) Unwrap() error { return e.cause }

// refuse makes a refusal. The description is made fit for error_description, whatever it quotes (TE8).
func refuse(reason Reason, field string, cause error, format string, args ...any) *Error {
	return &Error{Reason: reason, Field: field, Description: printable(fmt.Sprintf(format, args...)), cause: cause}
}

func invalid(field, format string, args ...any) *Error {
	return refuse(InvalidRequest, field, nil, format, args...)
}

func denied(format string, args ...any) *Error {
	return refuse(DelegationDenied, "", nil, format, args...)
}

func unavailable(cause error, what string) *Error {
	e := refuse(DependencyUnavailable, "", cause, "%s", what)
	e.RetryAfter = retryAfter
	return e
}

// under is the refusal in the words of the grant. The same token that is bad as a subject_token (invalid_request, RFC 8693
// §2.2.2) is invalid_grant as an assertion (RFC 7523 §3.1), and client_credentials has no token at all (D2).
func (e *Error) under(grant string) *Error {
	bad := e.Reason == SubjectTokenInvalid || e.Reason == DelegationDenied
	out := *e
	switch {
	case grant == GrantJWTBearer && bad:
		out.Reason = InvalidGrant
		if e.Field == "subject_token" {
			out.Field = "assertion"
		}
		out.Description = strings.Replace(e.Description, "subject_token", "assertion", 1)
	case grant == GrantClientCredentials && e.Reason == SubjectTokenInvalid:
		out.Reason, out.Field = DelegationDenied, ""
		out.Description = strings.Replace(e.Description, "subject_token", "service account", 1)
	default:
		return e
	}
	return &out
}

// retryAfter is what a caller is told when something is away.
const retryAfter = time.Second

// maxDescription keeps what a refusal quotes short.
const maxDescription = 300

// printable keeps the characters of RFC 6749 §5.2: %x20-21, %x23-5B and %x5D-7E.
func printable(s string) string {
	if len(s) > maxDescription {
		s = s[:maxDescription] + "..."
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, s)
}

// ReasonOf is the reason of an error of this package: "" for nil, Internal for an error that is none of ours.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Internal
}
