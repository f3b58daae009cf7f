// Package delegation is what a service needs to know who acts, for whom, and in which org: the claims of a delegation
// token, the law by which one token may narrow another, and a verifier that makes no call over the network.
//
// A token says: its subject lets the current actor (an agent) use the scopes, at the audience, until the expiry. The actor may
// have got it from another agent; the nested "act" is that history (RFC 8693 §4.1). Decide on the top-level claims and on the
// current actor; what came before is evidence, not authority.
//
// The subject is a user, "user:acme/okta|00u1", or a service account when no person is involved, "service:acme/reporting".
// Kinds have prefixes, so neither can be taken for the other, nor for an agent; ParseUserID and ParseServiceID tell them apart.
// Authorization_details (RFC 9396) are rights beside the scopes; they narrow as scopes do, by the org's own types (package
// rar).
//
//	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
//		Issuer:      "https://sts.example",
//		Audience:    "https://billing.example",
//		Keys:        keys, // delegation.NewRemoteKeys
//		Revocations: delegation.NoRevocations,
//	})
//	verified, err := verifier.Verify(ctx, token)
//
// NoRevocations is for a service that may honour a revoked token until it expires. Others follow the feed: delegationfeed.
// Or let delegationgrpc or delegationhttp verify, and ask FromContext in the handler.
//
// A token may be bound to a key, so that who steals it has nothing: to a DPoP key (RFC 9449) or to a TLS client certificate
// (RFC 8705), never to both. Verify refuses such a token, because its caller has proven nothing. VerifyPossessed takes what was
// proven; delegationgrpc and delegationhttp prove it, with package dpop. The law keeps bindings: a child of a bound token is
// bound, to the very key when its actor is the same, and else to the new actor's own (Grant.Confirmation).
//
// A client that only carries a token must not look into it: for clients a token is opaque (RFC 9068 §6).
//
// Types force the direction: only a Verifier makes a Verified, and only Root and Verified.Delegate make an Unsigned,
// which is all that a signer takes. A token that is wider than its parent is thus not a bug to be found; it cannot be
// written.
package delegation
