// Package delegationgrpc lets a gRPC service accept delegation tokens in one line:
//
//	grpc.NewServer(
//		grpc.UnaryInterceptor(delegationgrpc.Unary(verifier)),
//		grpc.StreamInterceptor(delegationgrpc.Stream(verifier)))
//
// A handler then asks delegation.FromContext. The caller's token travels in the metadata as "authorization: Bearer …".
// Health checks (grpc.health.v1.Health) need no token.
//
// A token may be bound to a key, so that who steals it has nothing. To a client certificate: then the service needs no more
// than TLS credentials that ask for one. To a DPoP key (RFC 9449): then the token travels as "authorization: DPoP …" with a
// proof in "dpop", whose htm is POST and whose htu is https://AUTHORITY/SERVICE/METHOD (DP10), and the service needs to know
// its own names and which proofs were used:
//
//	checker, err := dpop.NewChecker(dpop.Config{})
//	proofs, err := dpop.NewVerifier(checker, dpop.NewMemory(1<<20)) // replicas share a Replay of their own
//	accept, err := delegationgrpc.New(delegationgrpc.Config{
//		Verifier:    verifier,
//		DPoP:        proofs,
//		Authorities: []string{"billing.example"},
//	})
//	grpc.NewServer(grpc.UnaryInterceptor(accept.Unary()), grpc.StreamInterceptor(accept.Stream()))
//
// A nonce for the next proof comes in the trailer "dpop-nonce".
package delegationgrpc
