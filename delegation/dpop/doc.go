// Package dpop is proof of possession by RFC 9449: it reads proofs, makes proofs, and hands out nonces. Both servers, the
// verifier middleware and the client library use it.
//
// A proof says that its sender has a key, for one request: this method, this target URI, now. A Checker holds a proof to
// its request. Whether the proof was used before is another question, asked of a Replay, and only when it is known who
// asks: proofs cost nothing to make, so whoever remembers those of strangers remembers without end.
//
//	proof, err := checker.Check(dpop.Request{Proofs: r.Header.Values("DPoP"), Method: "POST", URI: "https://as.example/token"})
//	… authenticate the client …
//	… consume proof.Key(), once, until proof.Until() …
//	… bind the token to proof.JKT …
//
// A resource server has all of that in a Verifier, and delegationhttp and delegationgrpc have the Verifier. A client has a
// Prover.
//
// Errors wrap ErrProof, ErrNonce or ErrUnavailable. The text of the first two is this package's own and repeats nothing that
// was sent, so it may be sent back.
package dpop
