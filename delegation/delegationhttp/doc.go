// Package delegationhttp lets an HTTP service accept delegation tokens in one line:
//
//	http.ListenAndServe(addr, delegationhttp.Middleware(verifier, handler))
//
// A handler then asks delegation.FromContext. Refusals are those of RFC 6750 §3.
//
// A token may be bound to a key, so that who steals it has nothing. To a client certificate: then the service needs no more
// than a TLS server that asks for one. To a DPoP key (RFC 9449): then it needs to know its own address, which proofs name,
// and which proofs were used:
//
//	checker, err := dpop.NewChecker(dpop.Config{})
//	proofs, err := dpop.NewVerifier(checker, dpop.NewMemory(1<<20)) // replicas share a Replay of their own
//	accept, err := delegationhttp.New(delegationhttp.Config{
//		Verifier: verifier,
//		DPoP:     proofs,
//		BaseURL:  "https://billing.example",
//	})
//	http.ListenAndServe(addr, accept(handler))
//
// Answers, each with its challenge (MD8): 401 without an error code when there are no credentials; 400 invalid_request when
// there are several; 401 invalid_token; 401 invalid_dpop_proof; 401 use_dpop_nonce with a DPoP-Nonce; 403
// insufficient_scope; and 503 with Retry-After when it cannot be known whether the token is good.
package delegationhttp
