package oauthhttp_test

// entry is what a person is told of a reason.
type entry struct{ meaning, what string }

const errorsHead = `# Errors

Generated from the code by ` + "`go test ./wire/oauthhttp -run TestErrorsPage -update`" + `. Do not edit.

A refusal says the same at every door. Over gRPC the status has one ` + "`google.rpc.ErrorInfo`" + ` of domain ` + "`obo.dev`" + `: its
` + "`reason`" + ` is the first column, its metadata ` + "`oauthError`" + ` the OAuth code, and ` + "`actionId`" + ` the id under which the audit trail has the
refusal. Over HTTP the body is ` + "`{\"error\": OAuth code, \"error_description\": ..., \"action_id\": ...}`" + ` (RFC 6749 section 5.2). Switch on
the reason or the OAuth code, never on the text. A BadRequest detail names the field at fault.

Retry only where the last column says so, and not before RetryInfo (gRPC) or Retry-After (HTTP). UNAUTHENTICATED is only ever about
the caller's own credential or proof, never about a token in the request. Introspection answers an unauthenticated caller that asks
for a JWT with 400 instead of 401 (RFC 9701). The executor has no OAuth door: "-" in its HTTP column; services that use
` + "`delegation/delegationhttp`" + ` answer by RFC 6750 and RFC 9449.

| reason | said by | it means | OAuth code | gRPC code | HTTP | what to do |
|---|---|---|---|---|---|---|
`

const errorsMiddle = `
## When a provider refuses a call

A call that the executor allowed and the provider did not answer well is no error of the executor: the answer has a ` + "`ToolError`" + ` with
one of these kinds, whether the same call may be repeated, and perhaps when and where to reconnect.

| kind | it means | what to do |
|---|---|---|
`

// advice is for every reason. A test fails when one lacks it.
var advice = map[string]entry{
	"INVALID_REQUEST": {"A parameter is missing, malformed, given twice or contradicts another.",
		"Correct the request: the field and the description say what. Do not retry it as it is."},
	"SUBJECT_TOKEN_INVALID": {"The subject_token does not verify: bad signature, expired, revoked, of another issuer or kind.",
		"Get a fresh token from where it came: a new login, or the agent that handed it over. Then exchange anew."},
	"ACTOR_TOKEN_INVALID": {"The actor_token does not verify, is of another kind, or is an assertion that was used before.",
		"Have the next agent make a new assertion (exp at most 5 minutes ahead, a fresh jti, aud the issuer)."},
	"DELEGATION_DENIED": {"All is genuine, and not allowed: policy, may_act, another org, depth, or a token of somebody else.",
		"Do not retry. Look the action id up in the trail: it has the policies that decided. Ask for less, or ask the org to permit it."},
	"INVALID_TARGET": {"resource or audience is malformed, not registered, or not allowed together.",
		"Name exactly one registered resource, by its absolute URI without a fragment or by its logical name."},
	"INVALID_SCOPE": {"A scope is malformed, unknown, wider than the parent's or refused by policy; the description names it.",
		"Ask for fewer scopes, or leave scope out to get all that is allowed."},
	"INVALID_AUTHORIZATION_DETAILS": {"authorization_details are malformed, of an unknown type, or wider than the parent's, the registration or policy.",
		"Check them against the type's schema; ask for a part of what the subject_token has."},
	"INVALID_CLIENT": {"The caller did not authenticate: no credential, an unknown or disabled client, a wrong or used one, or two at once.",
		"Check client_id and credential. A client assertion needs aud exactly the issuer and a fresh jti. Do not retry the same one."},
	"UNAUTHORIZED_CLIENT": {"The client is authenticated and not registered for this grant.",
		"Add the grant to the agent's entry in the org's document, or use another grant."},
	"UNSUPPORTED_GRANT_TYPE": {"There is no such grant here.",
		"Use one of grant_types_supported in the server's metadata."},
	"INVALID_GRANT": {"The assertion of the jwt-bearer grant is bad, or the token to be revoked was issued to another client.",
		"Get a new assertion from its issuer. A token is revoked by the client that it was issued to or the agent that acts by it."},
	"UNSUPPORTED_TOKEN_TYPE": {"A token of this kind cannot be revoked.",
		"Let it expire; or revoke the access token that it was made from."},
	"INVALID_DPOP_PROOF": {"The DPoP proof is malformed, not for this request, used before, of another key than the token's, or missing where one is required.",
		"Make a new proof for each request: htm, htu (without query), a fresh jti, iat now, and ath where a token is presented."},
	"USE_DPOP_NONCE": {"The proof needs the server's nonce.",
		"Repeat the request at once with a new proof that has the nonce of the DPoP-Nonce header (gRPC: the dpop-nonce trailer)."},
	"INVALID_TOKEN": {"The caller's own token does not verify, is for another audience, is revoked, or is bound to a key that was not proven.",
		"Exchange for a new token for this audience; present a bound token with its proof or certificate."},
	"INSUFFICIENT_SCOPE": {"The token's scopes do not cover the tool; metadata scope names what is needed.",
		"Exchange for a token with that scope, if the chain has it."},
	"ACCESS_DENIED": {"Policy refused this call with these arguments, or authorization_details do not cover it.",
		"Do not retry. Change the arguments to what is allowed, or ask the org."},
	"INTERACTION_REQUIRED": {"Only the user can help: a new or stronger sign-in, consent, or a connection.",
		"Bring the user to it, then start from a new login."},
	"RATE_LIMITED": {"Too many requests of the client, the org or the server, or too many wrong secrets.",
		"Wait as long as RetryInfo or Retry-After says, then retry with backoff."},
	"DEPENDENCY_UNAVAILABLE": {"Something that is needed to decide or to record is away, so nothing was done.",
		"Retry after RetryInfo or Retry-After, with backoff. At revocation: assume that the token is still valid."},
	"CONFLICT": {"It was changed meanwhile, or the same change is under way.",
		"Read again, then decide anew."},
	"NOT_FOUND": {"There is no such org, agent, tool, connection or record, or it is none of the caller's.",
		"Check the name."},
	"INTERNAL_ERROR": {"A bug. Nothing of the cause is shown; the server's log has it.",
		"Retry once. Then tell the operator the time and the trace id."},
}

// kindAdvice is the same for connection.Kind.
var kindAdvice = map[string]entry{
	"revoked":       {"The provider no longer takes the credential.", "Send the user to reconnect_url."},
	"expired":       {"The user's grant has lived its time.", "Send the user to reconnect_url."},
	"needs_consent": {"The user has not granted what the tool needs.", "Send the user to reconnect_url: it asks for what is missing."},
	"uncertain": {"A refresh token that is good once was sent, and no answer came.",
		"Send the user to reconnect_url; nothing was done at the provider."},
	"server_error":    {"Only in a provider's record: as a 5xx.", "An agent never gets it: see unavailable and outcome_unknown."},
	"step_up":         {"The provider wants the user to sign in anew.", "Send the user to reconnect_url."},
	"operator_config": {"The connection is set up wrongly.", "Tell the org's operator; nothing that the agent or the user does helps."},
	"rate_limited":    {"The provider asks for patience.", "Wait for retry_after, then call again."},
	"not_found":       {"The provider has no such thing.", "Check the arguments."},
	"bad_request":     {"The provider did not take the arguments.", "Change them; the message says what it can."},
	"forbidden":       {"The credential is good and may not do this.", "Ask the user for a connection with more rights, or do less."},
	"unavailable":     {"Nothing happened: the provider is away.", "Call again later."},
	"outcome_unknown": {"The request was sent and no answer came: it may have taken effect.", "Look whether it did before calling again."},
	"bad_response":    {"What came back cannot be used.", "If the call only reads, call again; else look whether it took effect."},
	"no_connection":   {"The subject has no connection for the provider.", "Have the user connect."},
}
