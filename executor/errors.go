package executor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/vault"
)

// Reason says why the caller was refused: the ErrorInfo.reason of standards GR3.
type Reason string

// The reasons.
const (
	InvalidRequest        Reason = "INVALID_REQUEST"        // a field is missing or malformed, or an argument is not taken
	InvalidToken          Reason = "INVALID_TOKEN"          // the caller's own token
	InvalidProof          Reason = "INVALID_DPOP_PROOF"     // the proof that came with it (RFC 9449)
	UseNonce              Reason = "USE_DPOP_NONCE"         // the proof must have the nonce that comes with the refusal
	InsufficientScope     Reason = "INSUFFICIENT_SCOPE"     // the token's scopes do not cover the tool
	AccessDenied          Reason = "ACCESS_DENIED"          // policy refused this call, or authorization_details do not cover it
	NotFound              Reason = "NOT_FOUND"              // no such tool, connection, ...
	Conflict              Reason = "CONFLICT"               // changed meanwhile: read again
	RateLimited           Reason = "RATE_LIMITED"           // more at once than is served
	DependencyUnavailable Reason = "DEPENDENCY_UNAVAILABLE" // we cannot know, so we refuse
	InternalError         Reason = "INTERNAL_ERROR"         // a bug; nothing of the cause is shown
)

// Error is a refusal. Everything but the cause may be shown to the caller.
type Error struct {
	Reason      Reason
	Description string // for people; no token, credential or provider text in it
	Field       string // the request field at fault; empty when none is
	Scope       string // what the tool needs, for InsufficientScope
	Nonce       string // what the next proof must have, for UseNonce
	ActionID    string // where the audit trail has the refusal; empty when the caller is not known
	RetryAfter  time.Duration

	cause error
}

// Error implements error. It holds nothing that the caller may not see.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Description }

// Unwrap is the cause, for the log.
func (e *Error) Unwrap() error { return e.cause }

// retrySoon is how long a caller waits for a dependency.
const retrySoon = time.Second

func unavailable(what string, cause error) *Error {
	return &Error{Reason: DependencyUnavailable, Description: what, RetryAfter: retrySoon, cause: cause}
}

func invalid(field, description string) *Error {
	return &Error{Reason: InvalidRequest, Field: field, Description: description}
}

// tokenError says why a token is refused. Which claim failed may be said: the caller holds the token.
func tokenError(err error) *Error {
	if errors.Is(err, delegation.ErrUnavailable) {
		return unavailable("the token cannot be verified now", err)
	}
	why := "the token is not one that this executor takes"
	for sentinel, text := range map[error]string{
		delegation.ErrExpired:  "the token has expired",
		delegation.ErrRevoked:  "the token is revoked",
		delegation.ErrAudience: "the token is for another service",
	} {
		if errors.Is(err, sentinel) {
			why = text
		}
	}
	return &Error{Reason: InvalidToken, Description: why, cause: err}
}

// scopeError names what the token lacks and what the tool needs.
func scopeError(tool connection.Tool, has delegation.Scopes) *Error {
	var missing []string
	for _, s := range tool.Scopes() {
		if !has.Contains(s) {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &Error{
		Reason: InsufficientScope, Scope: strings.Join(tool.Scopes(), " "),
		Description: fmt.Sprintf("the token lacks %s", strings.Join(missing, " ")),
	}
}

// argumentError keeps the place of a bad argument.
func argumentError(err error) *Error {
	var bad *connection.ArgumentError
	if errors.As(err, &bad) {
		return &Error{Reason: InvalidRequest, Field: "arguments" + bad.Path, Description: bad.Error(), cause: err}
	}
	return &Error{Reason: InternalError, Description: "internal error", cause: err}
}

// linkError says why there is no connection to spend.
func linkError(tool connection.Tool, err error) error {
	provider := tool.Provider().Name()
	switch {
	case errors.Is(err, connection.ErrNoConnection):
		return &ToolError{Kind: connection.NoConnection, Message: "The user has no such connection to " + provider + "."}
	case errors.Is(err, connection.ErrRevoked), errors.Is(err, delegation.ErrRevoked):
		return &ToolError{
			Kind: connection.Revoked, Message: "The connection to " + provider + " was revoked. The user must connect again.",
		}
	case errors.Is(err, connection.ErrExpired):
		return toolError(connection.Failure{Kind: connection.Expired}, false)
	case errors.Is(err, connection.ErrSeveral):
		return &Error{Reason: InvalidRequest, Field: "connection", Description: err.Error()}
	default:
		return unavailable("the connection cannot be read now", err)
	}
}

// vaultError says why a credential cannot be borrowed or presented. Nothing was sent.
func vaultError(err error, pattern connection.Pattern) *ToolError {
	switch {
	case errors.Is(err, vault.ErrUnavailable):
		return toolError(connection.Failure{Kind: connection.Unavailable}, false)
	case errors.Is(err, vault.ErrDestroyed) && pattern != connection.DeveloperSecret:
		return toolError(connection.Failure{Kind: connection.Revoked}, false)
	}
	return toolError(connection.Failure{Kind: connection.OperatorConfig}, false)
}

// messages are all that an agent ever reads of a failure: ours, so that nothing a provider writes can instruct a model.
var messages = map[connection.Kind]string{
	connection.Revoked:        "The provider no longer accepts the user's credential. The user must connect the account again.",
	connection.Expired:        "The user's access to the provider has ended. The user must connect the account again.",
	connection.StepUp:         "The provider wants the user to sign in again.",
	connection.NeedsConsent:   "The user has not granted what this tool needs at the provider.",
	connection.Uncertain:      "Whether the user's access to the provider could be renewed is not known. The user must connect the account again.",
	connection.OperatorConfig: "The connection or the provider's record is not in order. Only the operator can help.",
	connection.RateLimited:    "The provider asks to slow down.",
	connection.NotFound:       "The provider knows no such thing, or does not show it to this user.",
	connection.BadRequest:     "The provider did not accept the arguments.",
	connection.Forbidden:      "The user's account may not do this at the provider.",
	connection.Unavailable:    "The provider cannot be reached now. Nothing was done.",
	connection.BadResponse:    "The provider answered, but its answer cannot be used.",
	connection.OutcomeUnknown: "No usable answer came. The call may have taken effect: look before doing it again.",
}

// toolError makes an agent's error of a failure. again says that the provider would recognise a repetition.
func toolError(f connection.Failure, again bool) *ToolError {
	e := &ToolError{Kind: f.Kind, Message: messages[f.Kind], RetryAfter: f.RetryAfter}
	switch f.Kind {
	case connection.RateLimited, connection.Unavailable:
		e.Retryable = true
	case connection.OutcomeUnknown:
		e.Retryable = again
	}
	return e
}
