// Package delegation is what a service needs to know who acts, for whom, and in which org: the claims of a delegation
// token, the law by which one token may narrow another, and a verifier that makes no call over the network.
//
// A token says: its subject (a user) lets the current actor (an agent) use the scopes, at the audience, until the
// expiry. The actor may have got it from another agent; the nested "act" is that history (RFC 8693 §4.1). Decide on the
// top-level claims and on the current actor; what came before is evidence, not authority.
//
//	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
//		Issuer:      "https://sts.example",
//		Audience:    "https://billing.example",
//		Keys:        keys, // delegation.NewRemoteKeys
//		Revocations: delegation.NoRevocations,
//	})
//	verified, err := verifier.Verify(ctx, token)
//
// Or let delegationgrpc or delegationhttp verify, and ask FromContext in the handler.
//
// Types force the direction: only a Verifier makes a Verified, and only Root and Verified.Delegate make an Unsigned,
// which is all that a signer takes. A token that is wider than its parent is thus not a bug to be found; it cannot be
// written.
package delegation
