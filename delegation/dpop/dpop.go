// Package dpop is proof of possession by RFC 9449: it reads proofs, makes proofs, and hands out nonces. Both servers, the
// verifier middleware and the client library use it.
package dpop

// Nonces hands out nonces and knows its own again, on every replica that has the same key (DP4).
type Nonces struct{}
