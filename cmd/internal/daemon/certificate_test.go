package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/onbehalf/obo/config"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcauth"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newPair is a self-signed certificate of a name, and its key, in PEM.
func newPair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// files is a pair on disk.
type files struct{ config.ServerTLS }

func newFiles(t *testing.T, name string) files {
	t.Helper()
	dir := t.TempDir()
	f := files{config.ServerTLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}}
	cert, key := newPair(t, name)
	f.write(t, cert, key)
	return f
}

func (f files) write(t *testing.T, cert, key []byte) {
	t.Helper()
	if cert != nil {
		must(t, os.WriteFile(f.CertFile, cert, 0o600))
	}
	if key != nil {
		must(t, os.WriteFile(f.KeyFile, key, 0o600))
	}
}

// handshake shakes hands over a pipe, and returns what each side saw.
func handshake(server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	failed := make(chan error, 1)
	go func() { failed <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		b.Close()
		<-failed
		return atServer, atClient, err
	}
	go c.Read(make([]byte, 1)) // TLS 1.3 sends tickets after the client's handshake
	if err := <-failed; err != nil {
		return atServer, atClient, err
	}
	return s.ConnectionState(), c.ConnectionState(), nil
}

// served is the name on the certificate that a client is shown.
func served(t *testing.T, server *tls.Config) string {
	t.Helper()
	_, seen, err := handshake(server, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	return seen.PeerCertificates[0].Subject.CommonName
}

// TestCertificateReload: a new pair is served without a restart; one that is not in order changes nothing and is told of once.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	f := newFiles(t, "first")
	c, err := openCertificate(f.ServerTLS)
	must(t, err)
	server := c.config()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	expect := func(when, name, says string, lines int) {
		t.Helper()
		out.Reset()
		c.tell(t.Context(), log)
		c.tell(t.Context(), log)
		if got := served(t, server); got != name {
			t.Errorf("%s: %q is served, want %q", when, got, name)
		}
		if got := out.String(); strings.Count(got, "\n") != lines || !strings.Contains(got, says) || strings.Contains(got, "PRIVATE") {
			t.Errorf("%s: logged %q", when, got)
		}
	}
	expect("at the start", "first", "", 0)
	cert, key := newPair(t, "second")
	f.write(t, cert, nil)
	expect("half of a new pair", "first", "cannot be used", 1)
	f.write(t, nil, key)
	expect("the other half", "second", "in force", 1)
	f.write(t, []byte("nonsense"), nil)
	expect("no certificate", "second", "cannot be used", 1)
	f.write(t, cert, nil)
	expect("the same pair again", "second", "in force", 1)
	must(t, os.Remove(f.KeyFile))
	expect("no key", "second", "no such file", 1)
	f.write(t, nil, key)
	must(t, os.Chmod(f.KeyFile, 0o644))
	expect("a key that others can read", "second", "chmod 600", 1)
	must(t, os.Chmod(f.KeyFile, 0o600))
	f.write(t, bytes.Repeat([]byte("x"), 2<<20), nil)
	expect("a file without end", "second", "larger than", 1)
	third, thirdKey := newPair(t, "third")
	f.write(t, third, thirdKey)
	expect("a third", "third", "in force", 1)
}

// TestCertificateIsWatched: the files are looked at by and by, until the server ends.
func TestCertificateIsWatched(t *testing.T) {
	t.Parallel()
	f := newFiles(t, "first")
	cert, key := newPair(t, "second")
	synctest.Test(t, func(t *testing.T) {
		c, err := openCertificate(f.ServerTLS)
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.watch(ctx, quiet) }()
		f.write(t, cert, key)
		if got := served(t, c.config()); got != "first" {
			t.Errorf("%q is served at once", got)
		}
		time.Sleep(certificatePoll)
		synctest.Wait()
		if got := served(t, c.config()); got != "second" {
			t.Errorf("%q is served", got)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestStartNeedsAGoodPair: at the start there is no pair before it to go on with.
func TestStartNeedsAGoodPair(t *testing.T) {
	t.Parallel()
	f := newFiles(t, "first")
	_, other := newPair(t, "second")
	f.write(t, nil, other)
	_, err := Listen(t.Context(), config.Listen{GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", TLS: &f.ServerTLS})
	if err == nil || !strings.Contains(err.Error(), "listen.tls") {
		t.Errorf("got %v", err)
	}
}

// TestHandshakes: what the doors speak.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	c, err := openCertificate(newFiles(t, "first").ServerTLS)
	must(t, err)
	certPEM, keyPEM := newPair(t, "agent")
	own, err := tls.X509KeyPair(certPEM, keyPEM)
	must(t, err)
	only := func(change func(*tls.Config)) *tls.Config {
		cfg := &tls.Config{InsecureSkipVerify: true}
		change(cfg)
		return cfg
	}
	for _, tt := range []struct {
		name   string
		client *tls.Config
		ok     bool
		peer   string // whose certificate the server sees
	}{
		{"FA5 TLS 1.3", only(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }), true, ""},
		{"FA5 TLS 1.2 with GCM", only(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		}), true, ""},
		{"FA5 TLS 1.2 with ChaCha20", only(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
		}), true, ""},
		{"FA5 TLS 1.1", only(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), false, ""},
		{"FA5 CBC", only(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}), false, ""},
		{"FA5 CBC with SHA-256", only(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}
		}), false, ""},
		{"FA5 no forward secrecy", only(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}), false, ""},
		{"MT2 a certificate of nobody that we know, for others to judge", only(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{own}
		}), true, "agent"},
		{"MT2 the same with TLS 1.2", only(func(c *tls.Config) {
			c.Certificates, c.MaxVersion = []tls.Certificate{own}, tls.VersionTLS12
		}), true, "agent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			seen, _, err := handshake(c.config(), tt.client)
			if (err == nil) != tt.ok {
				t.Fatalf("got %v", err)
			}
			peer := ""
			if len(seen.PeerCertificates) > 0 {
				peer = seen.PeerCertificates[0].Subject.CommonName
			}
			if peer != tt.peer {
				t.Errorf("the server sees %q, want %q", peer, tt.peer)
			}
		})
	}
}

// TestDoorsOverTLS: TX20, CA8, FA5. Both doors hand the connection's own certificate on, and speak to nobody in clear.
func TestDoorsOverTLS(t *testing.T) {
	t.Parallel()
	f := newFiles(t, "server")
	s, seen := newSecureServer(t, f)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	certPEM, keyPEM := newPair(t, "agent")
	own, err := tls.X509KeyPair(certPEM, keyPEM)
	must(t, err)
	serverPEM, err := os.ReadFile(f.CertFile)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(serverPEM)
	client := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}

	transport := &http.Transport{TLSClientConfig: client}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + s.Doors.HTTP.Addr().String())
	must(t, err)
	must(t, response.Body.Close())
	if got := <-seen; got != "agent" {
		t.Errorf("the HTTP door saw %q", got)
	}
	conn, err := grpc.NewClient(s.Doors.GRPC.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(client)))
	must(t, err)
	defer conn.Close()
	if _, err := obov1.NewExecutorServiceClient(conn).ListTools(t.Context(), &obov1.ListToolsRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("the gRPC door: %v", err)
	}
	if got := <-seen; got != "agent" {
		t.Errorf("the gRPC door saw %q", got)
	}
	plain, err := http.Get("http://" + s.Doors.HTTP.Addr().String())
	if err == nil {
		if plain.StatusCode != http.StatusBadRequest {
			t.Errorf("in clear: %s", plain.Status)
		}
		must(t, plain.Body.Close())
	}
	stop()
	must(t, <-ran)
}

// teller is a service that tells whose certificate it saw.
type teller struct {
	obov1.UnimplementedExecutorServiceServer
	tell func([]*x509.Certificate)
}

func (s teller) ListTools(ctx context.Context, _ *obov1.ListToolsRequest) (*obov1.ListToolsResponse, error) {
	from, _ := peer.FromContext(ctx)
	s.tell(from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates)
	return &obov1.ListToolsResponse{}, nil
}

// newSecureServer is a server whose doors tell whose certificate they saw.
func newSecureServer(t *testing.T, f files) (*Server, <-chan string) {
	t.Helper()
	seen := make(chan string, 1)
	tell := func(chain []*x509.Certificate) {
		if len(chain) == 0 {
			seen <- "nobody"
			return
		}
		seen <- chain[0].Subject.CommonName
	}
	doors, err := Listen(t.Context(), config.Listen{GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", TLS: &f.ServerTLS})
	must(t, err)
	t.Cleanup(doors.Close)
	first := make(chan struct{})
	close(first)
	health := NewHealth(first, func(context.Context) error { return nil }, quiet)
	guard, err := NewGuard(grpcauth.Config{
		Bearer: map[string]telemetry.Secret{"x": telemetry.Secret(strings.Repeat("s", 32))},
		Open:   []string{obov1.ExecutorService_ServiceDesc.ServiceName},
	})
	must(t, err)
	g := NewGRPC(GRPC{TLS: doors.TLS, Health: health, MaxMessage: 1 << 10, Log: quiet, Guard: guard})
	obov1.RegisterExecutorServiceServer(g, teller{tell: tell})
	return &Server{
		Doors: doors, GRPC: g, Health: health, Delay: func() time.Duration { return 0 }, Drain: time.Minute, Log: quiet,
		HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { tell(r.TLS.PeerCertificates) }),
		Work: map[string]func(context.Context) error{"the work": idle},
	}, seen
}
