// Package remote reaches the servers: it dials them, presents credentials, and reads tokens and secrets from where they may
// lie. A secret comes from a file or from standard input; never from an argument, which every process on a machine can read.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

// maxSecret bounds what is read as a token, a secret or a key.
const maxSecret = 64 << 10

// Dial connects to host:port: in the clear on loopback, by TLS 1.2 or newer everywhere else. caFile holds the roots to trust
// instead of the system's.
func Dial(address, caFile string) (*grpc.ClientConn, error) {
	creds, err := transport(address, caFile)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, explain.Failure("cannot use the address "+address, err, "give it as host:port")
	}
	return conn, nil
}

func transport(address, caFile string) (credentials.TransportCredentials, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, explain.Failure("cannot use the address "+address, err, "give it as host:port")
	}
	if Loopback(host) && caFile == "" {
		return insecure.NewCredentials(), nil
	}
	config, err := tlsConfig(caFile)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(config), nil
}

// tlsConfig trusts the roots in caFile, or the system's.
func tlsConfig(caFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	roots, err := os.ReadFile(caFile)
	if err != nil {
		return nil, explain.Failure("cannot read the certificates", err, "give --ca-file a PEM file")
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(roots) {
		return nil, explain.Failure(caFile+" holds no certificate", nil, "give --ca-file a PEM file")
	}
	return config, nil
}

// HTTP is a client for the standard's own door that keeps up to idle connections.
func HTTP(caFile string, idle int) (*http.Client, error) {
	config, err := tlsConfig(caFile)
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		MaxIdleConns: idle, MaxIdleConnsPerHost: idle, IdleConnTimeout: time.Minute, TLSClientConfig: config, ForceAttemptHTTP2: true,
	}}, nil
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Bearer adds a bearer token to the calls of a context.
func Bearer(ctx context.Context, token telemetry.Secret) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.Reveal())
}

// Basic adds a client id and secret to the calls of a context (RFC 6749 section 2.3.1: both are form-encoded first).
func Basic(ctx context.Context, id string, secret telemetry.Secret) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Basic "+basic(id, secret))
}

func basic(id string, secret telemetry.Secret) string {
	pair := url.QueryEscape(id) + ":" + url.QueryEscape(secret.Reveal())
	return base64.StdEncoding.EncodeToString([]byte(pair))
}

// STS is the token server's services over one connection.
type STS struct {
	Conn     *grpc.ClientConn
	Exchange obov1.ExchangeServiceClient
	Admin    obov1.AdminServiceClient
	Audit    obov1.AuditServiceClient
}

// NewSTS dials a token server.
func NewSTS(address, caFile string) (*STS, error) {
	conn, err := Dial(address, caFile)
	if err != nil {
		return nil, err
	}
	return &STS{Conn: conn, Exchange: obov1.NewExchangeServiceClient(conn), Admin: obov1.NewAdminServiceClient(conn),
		Audit: obov1.NewAuditServiceClient(conn)}, nil
}

// Executor is the executor's services over one connection.
type Executor struct {
	Conn     *grpc.ClientConn
	Executor obov1.ExecutorServiceClient
	Admin    obov1.ExecutorAdminServiceClient
	Audit    obov1.AuditServiceClient
}

// NewExecutor dials an executor.
func NewExecutor(address, caFile string) (*Executor, error) {
	conn, err := Dial(address, caFile)
	if err != nil {
		return nil, err
	}
	return &Executor{Conn: conn, Executor: obov1.NewExecutorServiceClient(conn),
		Admin: obov1.NewExecutorAdminServiceClient(conn), Audit: obov1.NewAuditServiceClient(conn)}, nil
}

// ReadSecret reads a token or a secret from a file, or from in when path is "-". Space around it is dropped.
func ReadSecret(path string, in io.Reader) (telemetry.Secret, error) {
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(io.LimitReader(in, maxSecret+1))
	} else {
		data, err = readFile(path)
	}
	if err != nil {
		return "", explain.Failure("cannot read "+name(path), err, "name a file that holds it, or - for standard input")
	}
	secret := strings.TrimSpace(string(data))
	switch {
	case secret == "" && path == "-":
		return "", explain.Failure("standard input is empty", errors.New("a token or a secret is read from it when no file is named"),
			"name the file with the flag that --help shows, or pipe it in")
	case secret == "":
		return "", explain.Failure(name(path)+" is empty", nil, "put the token or secret into it, and nothing else")
	case len(data) > maxSecret:
		return "", explain.Failure(name(path)+" is too long", fmt.Errorf("more than %d bytes", maxSecret), "is it the right file?")
	}
	return telemetry.Secret(secret), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}

func name(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}
