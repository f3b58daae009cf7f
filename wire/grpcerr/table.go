package grpcerr

import (
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
)

// Reason is an ErrorInfo reason: what a program may switch on. Stable; the whole list is here (GR3).
type Reason string

// The reasons.
const (
	InvalidRequest              Reason = "INVALID_REQUEST"               // a field is missing, malformed or repeated
	SubjectTokenInvalid         Reason = "SUBJECT_TOKEN_INVALID"         // never UNAUTHENTICATED (GR4)
	ActorTokenInvalid           Reason = "ACTOR_TOKEN_INVALID"           // never UNAUTHENTICATED (GR4)
	DelegationDenied            Reason = "DELEGATION_DENIED"             // policy, may_act, another org
	InvalidTarget               Reason = "INVALID_TARGET"                // resource or audience
	InvalidScope                Reason = "INVALID_SCOPE"                 //
	InvalidAuthorizationDetails Reason = "INVALID_AUTHORIZATION_DETAILS" //
	InvalidClient               Reason = "INVALID_CLIENT"                // the caller's own credential
	UnauthorizedClient          Reason = "UNAUTHORIZED_CLIENT"           // this client may not use this grant
	UnsupportedGrantType        Reason = "UNSUPPORTED_GRANT_TYPE"        //
	InvalidGrant                Reason = "INVALID_GRANT"                 // the assertion of the jwt-bearer grant
	UnsupportedTokenType        Reason = "UNSUPPORTED_TOKEN_TYPE"        // RFC 7009
	InvalidProof                Reason = "INVALID_DPOP_PROOF"            // RFC 9449
	UseNonce                    Reason = "USE_DPOP_NONCE"                // with the nonce in the dpop-nonce trailer
	InvalidToken                Reason = "INVALID_TOKEN"                 // the caller's own bearer token (RFC 6750)
	InsufficientScope           Reason = "INSUFFICIENT_SCOPE"            // metadata "scope" names what is needed
	AccessDenied                Reason = "ACCESS_DENIED"                 // policy refused a call to the executor
	InteractionRequired         Reason = "INTERACTION_REQUIRED"          // only the user can help
	RateLimited                 Reason = "RATE_LIMITED"                  //
	DependencyUnavailable       Reason = "DEPENDENCY_UNAVAILABLE"        // we cannot know, so we refuse
	Conflict                    Reason = "CONFLICT"                      // changed meanwhile: read again
	NotFound                    Reason = "NOT_FOUND"                     //
	InternalError               Reason = "INTERNAL_ERROR"                // a bug; no inner text
)

// row is how one reason looks on the wire.
type row struct {
	code    codes.Code
	refused codes.Code // in place of code when no field is at fault; OK for none
	oauth   string
}

// rows is the table of standards GR3.
var rows = map[Reason]row{
	InvalidRequest:              {code: codes.InvalidArgument, oauth: "invalid_request"},
	SubjectTokenInvalid:         {code: codes.InvalidArgument, oauth: "invalid_request"},
	ActorTokenInvalid:           {code: codes.InvalidArgument, oauth: "invalid_request"},
	DelegationDenied:            {code: codes.PermissionDenied, oauth: "invalid_request"},
	InvalidTarget:               {code: codes.InvalidArgument, refused: codes.PermissionDenied, oauth: "invalid_target"},
	InvalidScope:                {code: codes.InvalidArgument, refused: codes.PermissionDenied, oauth: "invalid_scope"},
	InvalidAuthorizationDetails: {code: codes.InvalidArgument, refused: codes.PermissionDenied, oauth: "invalid_authorization_details"},
	InvalidClient:               {code: codes.Unauthenticated, oauth: "invalid_client"},
	UnauthorizedClient:          {code: codes.PermissionDenied, oauth: "unauthorized_client"},
	UnsupportedGrantType:        {code: codes.Unimplemented, oauth: "unsupported_grant_type"},
	InvalidGrant:                {code: codes.InvalidArgument, refused: codes.PermissionDenied, oauth: "invalid_grant"},
	UnsupportedTokenType:        {code: codes.InvalidArgument, oauth: "unsupported_token_type"},
	InvalidProof:                {code: codes.Unauthenticated, oauth: "invalid_dpop_proof"},
	UseNonce:                    {code: codes.Unauthenticated, oauth: "use_dpop_nonce"},
	InvalidToken:                {code: codes.Unauthenticated, oauth: "invalid_token"},
	InsufficientScope:           {code: codes.PermissionDenied, oauth: "insufficient_scope"},
	AccessDenied:                {code: codes.PermissionDenied, oauth: "access_denied"},
	InteractionRequired:         {code: codes.FailedPrecondition, oauth: "insufficient_user_authentication"},
	RateLimited:                 {code: codes.ResourceExhausted, oauth: "temporarily_unavailable"},
	DependencyUnavailable:       {code: codes.Unavailable, oauth: "temporarily_unavailable"},
	Conflict:                    {code: codes.Aborted, oauth: "invalid_request"},
	NotFound:                    {code: codes.NotFound, oauth: "invalid_request"},
	InternalError:               {code: codes.Internal, oauth: "server_error"},
}

// Reasons are all reasons, sorted.
func Reasons() []Reason { return slices.Sorted(maps.Keys(rows)) }
