package delegationgrpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationgrpc"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/delegation/dpop"
)

const (
	unaryURL  = "https://service.test/test.Service/Unary"
	streamURL = "https://service.test/test.Service/Stream"
)

func newInterceptors(t *testing.T, config delegationgrpc.Config) *delegationgrpc.Interceptors {
	t.Helper()
	if config.DPoP != nil && config.Authorities == nil {
		config.Authorities = []string{"Service.test", "service.test:8443"}
	}
	i, err := delegationgrpc.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// serveBound starts the service of serve behind interceptors. Callers know it by the name authority.
func serveBound(t *testing.T, i *delegationgrpc.Interceptors, authority string, server, client credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	s := grpc.NewServer(grpc.UnaryInterceptor(i.Unary()), grpc.StreamInterceptor(i.Stream()), grpc.Creds(server))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Service",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams:     []grpc.StreamDesc{{StreamName: "Stream", Handler: stream, ServerStreams: true, ClientStreams: true}},
	}, struct{}{})
	listener := bufconn.Listen(1 << 16)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///"+authority, grpc.WithTransportCredentials(client), grpc.WithAuthority(authority),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func plain(t *testing.T, i *delegationgrpc.Interceptors, authority string) *grpc.ClientConn {
	t.Helper()
	return serveBound(t, i, authority, insecure.NewCredentials(), insecure.NewCredentials())
}

// present sends authorization and proofs as metadata.
func present(t *testing.T, authorization string, proofs ...string) context.Context {
	t.Helper()
	return metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": {authorization}, "dpop": proofs})
}

// TestDPoP: DP1, DP2, DP6, DP10: what a service answers that takes both schemes, for both kinds of call.
func TestDPoP(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover, thief := i.Prover(t), i.Prover(t)
	bound, bearer := i.Token(t, delegationtest.BoundTo(prover)), i.Token(t, nil)
	proof := func(p *dpop.Prover, method, uri, token string) []string {
		return []string{delegationtest.Proof(t, p, method, uri, token)}
	}
	for name, c := range map[string]struct {
		authority     string
		authorization string
		proofs        func(uri string) []string
		reason, oauth string
	}{
		"DP10 good":                          {"service.test", "DPoP " + bound, func(uri string) []string { return proof(prover, "POST", uri, bound) }, "", ""},
		"DP10 good, authority in other case": {"SERVICE.test", "dpop " + bound, func(uri string) []string { return proof(prover, "POST", uri, bound) }, "", ""},
		"DP10 good, by another of its names": {"service.test:8443", "DPoP " + bound, func(uri string) []string {
			return proof(prover, "POST", "https://service.test:8443"+uri[len("https://service.test"):], bound)
		}, "", ""},
		"DP10 good, with the port of https": {"service.test:443", "DPoP " + bound, func(uri string) []string { return proof(prover, "POST", uri, bound) }, "", ""},
		"a bearer's token, as bearer":       {"service.test", "Bearer " + bearer, func(string) []string { return nil }, "", ""},
		"DP10 a name that is not its own": {"evil.test", "DPoP " + bound, func(uri string) []string {
			return proof(prover, "POST", "https://evil.test"+uri[len("https://service.test"):], bound)
		}, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP10 http in the proof": {"service.test", "DPoP " + bound, func(uri string) []string {
			return proof(prover, "POST", "http"+uri[len("https"):], bound)
		}, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP10 htm of another method": {"service.test", "DPoP " + bound, func(uri string) []string { return proof(prover, "GET", uri, bound) }, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP10 another call":          {"service.test", "DPoP " + bound, func(uri string) []string { return proof(prover, "POST", uri+"2", bound) }, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP1 no proof":               {"service.test", "DPoP " + bound, func(string) []string { return nil }, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP1 two proofs": {"service.test", "DPoP " + bound, func(uri string) []string {
			return append(proof(prover, "POST", uri, bound), proof(prover, "POST", uri, bound)...)
		}, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP6 no ath":                     {"service.test", "DPoP " + bound, func(uri string) []string { return proof(prover, "POST", uri, "") }, "INVALID_DPOP_PROOF", "invalid_dpop_proof"},
		"DP6 a thief's key":              {"service.test", "DPoP " + bound, func(uri string) []string { return proof(thief, "POST", uri, bound) }, "INVALID_TOKEN", "invalid_token"},
		"DP6 a bearer's token with DPoP": {"service.test", "DPoP " + bearer, func(uri string) []string { return proof(prover, "POST", uri, bearer) }, "INVALID_TOKEN", "invalid_token"},
		"DP6 a bound token as bearer":    {"service.test", "Bearer " + bound, func(uri string) []string { return proof(prover, "POST", uri, bound) }, "INVALID_TOKEN", "invalid_token"},
		"no token behind DPoP":           {"service.test", "DPoP ", func(string) []string { return nil }, "INVALID_TOKEN", "invalid_request"},
	} {
		for kind, call := range map[string]struct {
			uri  string
			call func(context.Context, *grpc.ClientConn) error
		}{"unary": {unaryURL, callUnary}, "stream": {streamURL, callStream}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				accept := newInterceptors(t, delegationgrpc.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, false)})
				err := call.call(present(t, c.authorization, c.proofs(call.uri)...), plain(t, accept, c.authority))
				code := codes.OK
				if c.reason != "" {
					code = codes.Unauthenticated
				}
				wantStatus(t, err, code, c.reason, c.oauth)
			})
		}
	}
}

// TestProofIsUsedOnce: DP3: for one call; the messages of a stream need no more.
func TestProofIsUsedOnce(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	r := &revocations{}
	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: i.URL(), Audience: delegationtest.Audience, Keys: delegation.StaticKeys(i.Keys()), Revocations: r,
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := plain(t, newInterceptors(t, delegationgrpc.Config{Verifier: verifier, DPoP: i.Proofs(t, false)}), "service.test")
	ctx := present(t, "DPoP "+bound, delegationtest.Proof(t, prover, "POST", unaryURL, bound))
	wantStatus(t, callUnary(ctx, conn), codes.OK, "", "")
	wantStatus(t, callUnary(ctx, conn), codes.Unauthenticated, "INVALID_DPOP_PROOF", "invalid_dpop_proof")

	ctx = present(t, "DPoP "+bound, delegationtest.Proof(t, prover, "POST", streamURL, bound))
	s, err := openStream(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := echo(s); err != nil {
			t.Fatal(err)
		}
	}
	wantStatus(t, callStream(ctx, conn), codes.Unauthenticated, "INVALID_DPOP_PROOF", "invalid_dpop_proof")
	r.say(delegation.ErrRevoked)
	wantStatus(t, echo(s), codes.Unauthenticated, "INVALID_TOKEN", "invalid_token")
}

// TestNonces: DP4, DP10: the nonce comes in the trailer, of a refusal and of an answer.
func TestNonces(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	accept := newInterceptors(t, delegationgrpc.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, true)})
	conn := plain(t, accept, "service.test")
	call := func(nonce string) ([]string, error) {
		var trailer metadata.MD
		ctx := present(t, "DPoP "+bound, delegationtest.ProofWithNonce(t, prover, "POST", unaryURL, nonce, bound))
		err := conn.Invoke(ctx, "/test.Service/Unary", &emptypb.Empty{}, &emptypb.Empty{}, grpc.Trailer(&trailer))
		return trailer.Get("dpop-nonce"), err
	}
	nonces, err := call("")
	wantStatus(t, err, codes.Unauthenticated, "USE_DPOP_NONCE", "use_dpop_nonce")
	if len(nonces) != 1 || nonces[0] == "" {
		t.Fatalf("nonces %q", nonces)
	}
	next, err := call(nonces[0])
	wantStatus(t, err, codes.OK, "", "")
	if len(next) != 1 || next[0] == "" {
		t.Fatalf("nonces %q", next)
	}
	ctx := present(t, "DPoP "+bound, delegationtest.ProofWithNonce(t, prover, "POST", streamURL, "", bound))
	s, err := openStream(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, s.RecvMsg(&emptypb.Empty{}), codes.Unauthenticated, "USE_DPOP_NONCE", "use_dpop_nonce")
	nonces = s.Trailer().Get("dpop-nonce")
	if len(nonces) != 1 {
		t.Fatalf("nonces of a stream: %q", nonces)
	}
	ctx = present(t, "DPoP "+bound, delegationtest.ProofWithNonce(t, prover, "POST", streamURL, nonces[0], bound))
	wantStatus(t, callStream(ctx, conn), codes.OK, "", "")
}

// TestRequireDPoP: DP6: a service that takes proofs only lets no bearer in.
func TestRequireDPoP(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	accept := newInterceptors(t, delegationgrpc.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, false), RequireDPoP: true})
	conn := plain(t, accept, "service.test")
	wantStatus(t, callUnary(present(t, "Bearer "+i.Token(t, nil)), conn), codes.Unauthenticated, "INVALID_TOKEN", "invalid_token")
	wantStatus(t, callUnary(present(t, "DPoP "+bound, delegationtest.Proof(t, prover, "POST", unaryURL, bound)), conn), codes.OK, "", "")
}

// TestMutualTLS: MT1, MT2, MT4: a token that is bound to a certificate is good on a connection with that certificate, whoever
// signed it, in the one-line form too.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	own, renewed, service := delegationtest.Certificate(t, "agent.test"), delegationtest.Certificate(t, "agent.test"), delegationtest.Certificate(t, "service.test")
	bound, bearer := i.Token(t, delegationtest.BoundToCertificate(own.Leaf)), i.Token(t, nil)
	roots := x509.NewCertPool()
	roots.AddCert(service.Leaf)
	for name, c := range map[string]struct {
		token  string
		client []tls.Certificate
		reason string
	}{
		"MT2 its certificate":             {bound, []tls.Certificate{own}, ""},
		"MT2 a bearer with a certificate": {bearer, []tls.Certificate{own}, ""},
		"MT2 no certificate":              {bound, nil, "INVALID_TOKEN"},
		"MT4 a renewed certificate":       {bound, []tls.Certificate{renewed}, "INVALID_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accept := newInterceptors(t, delegationgrpc.Config{Verifier: i.Verifier(t, delegationtest.Audience)})
			conn := serveBound(t, accept, "service.test",
				credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{service}, ClientAuth: tls.RequestClientCert}),
				credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: c.client}))
			code, oauth := codes.OK, ""
			if c.reason != "" {
				code, oauth = codes.Unauthenticated, "invalid_token"
			}
			wantStatus(t, callUnary(present(t, "Bearer "+c.token), conn), code, c.reason, oauth)
			wantStatus(t, callStream(present(t, "Bearer "+c.token), conn), code, c.reason, oauth)
		})
	}
}

// TestCannotBeKnown: DP3: a memory that cannot be asked, and nonces that cannot be made, are UNAVAILABLE.
func TestCannotBeKnown(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	broken := func(context.Context, [32]byte, time.Time) (bool, error) { return false, errors.New("down") }
	for name, c := range map[string]struct {
		config dpop.Config
		replay dpop.Replay
	}{
		"memory": {dpop.Config{}, broken},
		"nonces": {dpop.Config{Nonces: dpop.NewNonces(nil, "rs", 0)}, dpop.NewMemory(1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checker, err := dpop.NewChecker(c.config)
			if err != nil {
				t.Fatal(err)
			}
			proofs, err := dpop.NewVerifier(checker, c.replay)
			if err != nil {
				t.Fatal(err)
			}
			conn := plain(t, newInterceptors(t, delegationgrpc.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: proofs}), "service.test")
			ctx := present(t, "DPoP "+bound, delegationtest.Proof(t, prover, "POST", unaryURL, bound))
			wantStatus(t, callUnary(ctx, conn), codes.Unavailable, "DEPENDENCY_UNAVAILABLE", "temporarily_unavailable")
		})
	}
}

// TestNewRefuses: a configuration that would let nobody in, or that no proof could name.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	v, p := i.Verifier(t, delegationtest.Audience), i.Proofs(t, false)
	for name, c := range map[string]delegationgrpc.Config{
		"no verifier":             {},
		"DPoP without a name":     {Verifier: v, DPoP: p},
		"a URL for a name":        {Verifier: v, DPoP: p, Authorities: []string{"https://service.test"}},
		"a path in a name":        {Verifier: v, DPoP: p, Authorities: []string{"service.test/x"}},
		"an empty name":           {Verifier: v, DPoP: p, Authorities: []string{""}},
		"a user in a name":        {Verifier: v, DPoP: p, Authorities: []string{"u@service.test"}},
		"a port without a name":   {Verifier: v, DPoP: p, Authorities: []string{":443"}},
		"required, and not there": {Verifier: v, RequireDPoP: true},
	} {
		if _, err := delegationgrpc.New(c); err == nil {
			t.Error(name)
		}
	}
}
