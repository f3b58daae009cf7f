package executorgrpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/executorgrpc"
)

// serveAt serves on loopback and returns a client that calls it by an authority.
func serveAt(t *testing.T, x executorgrpc.Executor, hosts []string, authority string, server, client *tls.Config) obov1.ExecutorServiceClient {
	t.Helper()
	var options []grpc.ServerOption
	dialled := insecure.NewCredentials()
	if server != nil {
		options, dialled = append(options, grpc.Creds(credentials.NewTLS(server))), credentials.NewTLS(client)
	}
	g := grpc.NewServer(options...)
	executorgrpc.Register(g, executorgrpc.Config{Executor: x, Hosts: hosts, ResourceMetadata: metadataURL})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(dialled), grpc.WithAuthority(authority))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return obov1.NewExecutorServiceClient(conn)
}

// newCertificate is a self-signed one.
func newCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestURI: DP10. A proof for a call names https, the authority, and the method; the authority counts only when it is ours, or
// a server that is called by another name could relay the proofs that it gets.
func TestURI(t *testing.T) {
	t.Parallel()
	const method = "/obo.v1.ExecutorService/Execute"
	hosts := []string{"executor.example", "127.0.0.1", "::1"}
	for authority, want := range map[string]string{
		"executor.example":           "https://executor.example" + method,
		"executor.example:8444":      "https://executor.example:8444" + method, // somebody in front ends the TLS
		"EXECUTOR.example":           "https://EXECUTOR.example" + method,
		"127.0.0.1:8444":             "http://127.0.0.1:8444" + method, // in clear, on this machine
		"[::1]:8444":                 "http://[::1]:8444" + method,
		"evil.example":               "",
		"localhost:8444":             "", // not configured
		"executor.example.evil.test": "",
		"executor.example@evil.test": "",
		"evil.test@executor.example": "",
	} {
		x := &scripted{}
		client := serveAt(t, x, hosts, authority, nil, nil)
		if _, err := client.Execute(with(t.Context(), "DPoP abc"), &obov1.ExecuteRequest{}); err != nil && want != "" {
			t.Errorf("%s: %v", authority, err)
		}
		if x.presented.URI != want || want != "" && x.presented.Method != http.MethodPost {
			t.Errorf("%s: %q %q, want %q", authority, x.presented.Method, x.presented.URI, want)
		}
	}
	x := &scripted{}
	_, err := serveAt(t, x, nil, "executor.example", nil, nil).ListTools(with(t.Context(), "DPoP abc"), &obov1.ListToolsRequest{})
	if err != nil || x.presented.URI != "" {
		t.Errorf("without hosts: %q %v", x.presented.URI, err)
	}
}

// TestPresented: what comes with the token is found, all of it, and judged elsewhere.
func TestPresented(t *testing.T) {
	t.Parallel()
	own := newCertificate(t, "agent")
	secure := &tls.Config{Certificates: []tls.Certificate{newCertificate(t, "executor.example")}, ClientAuth: tls.RequestClientCert}
	for _, c := range []struct {
		name   string
		tls    bool
		client *tls.Config
		md     metadata.MD
		want   executor.Presented
		certs  int
	}{
		{
			name: "DP6 a token with a proof", md: metadata.Pairs("authorization", "DPoP abc", "dpop", "p"),
			want: executor.Presented{Scheme: "DPoP", Token: "abc", Proofs: []string{"p"}},
		},
		{
			name: "DP6 every proof, so that two are seen", md: metadata.Pairs("authorization", "dpop abc", "dpop", "p", "dpop", "q"),
			want: executor.Presented{Scheme: "dpop", Token: "abc", Proofs: []string{"p", "q"}},
		},
		{
			name: "MT2 the certificate of the connection", tls: true, md: metadata.Pairs("authorization", "Bearer abc"),
			client: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}},
			want:   executor.Presented{Scheme: "Bearer", Token: "abc"}, certs: 1,
		},
		{
			name: "MT2 a connection without one", tls: true, md: metadata.Pairs("authorization", "Bearer abc"),
			client: &tls.Config{InsecureSkipVerify: true}, want: executor.Presented{Scheme: "Bearer", Token: "abc"},
		},
		{
			name: "CA8 a header that speaks of a certificate",
			md: metadata.Pairs("authorization", "Bearer abc", "x-forwarded-client-cert", "Hash=00", "client-cert", ":MIIB:",
				"ssl-client-cert", "MIIB", "x-client-cert", "MIIB"),
			want: executor.Presented{Scheme: "Bearer", Token: "abc"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &scripted{}
			server := secure
			if !c.tls {
				server = nil
			}
			client := serveAt(t, x, []string{"executor.example"}, "executor.example", server, c.client)
			_, err := client.Execute(metadata.NewOutgoingContext(t.Context(), c.md), &obov1.ExecuteRequest{})
			must(t, err)
			got := x.presented
			if got.Scheme != c.want.Scheme || got.Token != c.want.Token || !slices.Equal(got.Proofs, c.want.Proofs) ||
				len(got.Certificates) != c.certs {
				t.Errorf("%q %q %q, %d certificates", got.Scheme, got.Token, got.Proofs, len(got.Certificates))
			}
			if c.certs > 0 && !slices.Equal(got.Certificates[0].Raw, own.Certificate[0]) {
				t.Error("it is another certificate")
			}
		})
	}
}

// TestTrailers: what a refused caller needs for another attempt, in the words of HTTP.
func TestTrailers(t *testing.T) {
	t.Parallel()
	const (
		algs   = `algs="ES256 EdDSA Ed25519 PS256 RS256"`
		where  = `resource_metadata="` + metadataURL + `"`
		bearer = "Bearer " + where
		dpop   = "DPoP " + algs + ", " + where
	)
	for _, c := range []struct {
		name  string
		sent  []string // authorization
		err   error
		nonce string // of a success
		code  codes.Code
		want  []string
		fresh []string
	}{
		{name: "MD8 no credentials", code: codes.Unauthenticated, want: []string{bearer, dpop}},
		{name: "MD8 another scheme is none", sent: []string{"Basic YTpi"}, code: codes.Unauthenticated, want: []string{bearer, dpop}},
		{name: "DP6 two authorization values", sent: []string{"Bearer abc", "DPoP abc"}, code: codes.InvalidArgument},
		{
			name: "MD7 a bad token", sent: []string{"Bearer abc"}, code: codes.Unauthenticated,
			err:  &executor.Error{Reason: executor.InvalidToken, Description: "expired"},
			want: []string{`Bearer error="invalid_token", error_description="expired", ` + where, dpop},
		},
		{
			name: "DP6 a bad proof", sent: []string{"DPoP abc"}, code: codes.Unauthenticated,
			err:  &executor.Error{Reason: executor.InvalidProof, Description: "old"},
			want: []string{bearer, `DPoP error="invalid_dpop_proof", error_description="old", ` + algs + ", " + where},
		},
		{
			name: "DP4 no nonce", sent: []string{"DPoP abc"}, code: codes.Unauthenticated,
			err:   &executor.Error{Reason: executor.UseNonce, Description: "again", Nonce: "n1"},
			want:  []string{bearer, `DPoP error="use_dpop_nonce", error_description="again", ` + algs + ", " + where},
			fresh: []string{"n1"},
		},
		{
			name: "MD8 insufficient scope", sent: []string{"Bearer abc"}, code: codes.PermissionDenied,
			err:  &executor.Error{Reason: executor.InsufficientScope, Description: "lacks", Scope: "a:r a:w"},
			want: []string{`Bearer error="insufficient_scope", error_description="lacks", scope="a:r a:w", ` + where, dpop},
		},
		{name: "policy", sent: []string{"Bearer abc"}, code: codes.PermissionDenied, err: &executor.Error{Reason: executor.AccessDenied}},
		{name: "DP4 the next nonce", sent: []string{"DPoP abc"}, nonce: "n2", fresh: []string{"n2"}},
		{name: "DP4 none is needed", sent: []string{"DPoP abc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &scripted{err: c.err, response: executor.Response{Nonce: c.nonce}}
			client := obov1.NewExecutorServiceClient(dial(t, x, nil))
			for method, call := range map[string]func(context.Context, *metadata.MD) error{
				"Execute": func(ctx context.Context, md *metadata.MD) error {
					_, err := client.Execute(ctx, &obov1.ExecuteRequest{}, grpc.Trailer(md))
					return err
				},
				"ListTools": func(ctx context.Context, md *metadata.MD) error {
					_, err := client.ListTools(ctx, &obov1.ListToolsRequest{}, grpc.Trailer(md))
					return err
				},
			} {
				var md metadata.MD
				if err := call(with(t.Context(), c.sent...), &md); status.Code(err) != c.code {
					t.Errorf("%s: %v", method, err)
				}
				if !slices.Equal(md.Get("www-authenticate"), c.want) || !slices.Equal(md.Get("dpop-nonce"), c.fresh) {
					t.Errorf("%s: trailers %q", method, md)
				}
			}
		})
	}
}
