// Package client is how an orchestrator, a subagent or a service gets tokens of obo and uses them: discovery, token exchange
// (RFC 8693), client credentials, introspection and revocation over HTTP, and credentials for gRPC and HTTP calls that renew
// themselves.
//
//	server, err := client.Discover(ctx, "https://sts.example", nil)
//	c, err := client.New(client.Config{Server: server, ClientID: "acme.orchestrator", Auth: client.Workload(projected)})
//	conn, err := grpc.NewClient("executor.example:443", grpc.WithTransportCredentials(tls),
//		grpc.WithPerRPCCredentials(c.PerRPC(client.Request{
//			Subject: client.Static(idToken), SubjectType: client.TypeIDToken,
//			Resource: []string{"https://executor.example"}, Scope: "tracker:issues:read",
//		})))
//
// A token is opaque here: nothing of it is read (RFC 9068 §6, AT9). What a caller needs to know of it is in Token.
//
// Token, TokenSource, PerRPC and Transport share tokens. A token is asked for once, however many callers wait for it, and
// anew when most of its life is over. A token that is about to expire is not handed out, nor is one that has expired: when the
// server cannot be reached then, callers get the error.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Prover makes proofs of possession (RFC 9449). *dpop.Prover is one.
type Prover interface {
	// Thumbprint is that of the public key (RFC 7638).
	Thumbprint() string
	// Proof is a fresh proof for one request. token is empty at the authorization server, nonce when none is known.
	Proof(method, uri, nonce, token string) (string, error)
}

// Config makes a Client. Server and ClientID are required.
type Config struct {
	Server   Metadata
	ClientID string
	// Auth is how the client authenticates. Nil: by the TLS certificate that HTTP presents (RFC 8705 §2).
	Auth Authentication
	// DPoP binds the tokens to a key (RFC 9449). Nil: they are bearer tokens, or bound to the TLS certificate.
	DPoP Prover
	// HTTP is used as it is, but follows no redirect. Nil: a client with a timeout of 30 seconds.
	HTTP *http.Client
	// MaxTokens bounds the tokens that are kept; the one longest unused goes first. 0: 1024.
	MaxTokens int
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Client is one client of one authorization server. It is safe for many goroutines.
type Client struct {
	server Metadata
	id     string
	auth   Authentication
	dpop   Prover
	http   *http.Client
	now    func() time.Time
	nonces *nonces
	tokens *tokens
}

const (
	defaultTimeout   = 30 * time.Second
	defaultMaxTokens = 1024
)

// New makes a Client.
func New(c Config) (*Client, error) {
	switch {
	case c.ClientID == "":
		return nil, errors.New("client: ClientID is empty: it is the agent's client id, such as acme.orchestrator")
	case c.Server.Issuer == "" || c.Server.TokenEndpoint == "":
		return nil, errors.New("client: Server is empty: Discover reads it from the issuer")
	case c.MaxTokens < 0:
		return nil, fmt.Errorf("client: MaxTokens is %d", c.MaxTokens)
	}
	if err := c.Server.check(); err != nil {
		return nil, err
	}
	out := &Client{server: c.Server, id: c.ClientID, auth: c.Auth, dpop: c.DPoP, http: direct(c.HTTP), now: c.Now,
		nonces: newNonces()}
	if out.now == nil {
		out.now = time.Now
	}
	if out.auth == nil {
		out.auth = Certificate()
	}
	if c.MaxTokens == 0 {
		c.MaxTokens = defaultMaxTokens
	}
	out.tokens = newTokens(c.MaxTokens, out.now, func(ctx context.Context, r Request) (Token, error) {
		return out.Exchange(ctx, r.shared())
	})
	return out, nil
}

// Format names the client whatever the verb, and never shows how it authenticates.
func (c Client) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "Client(%s at %s)", c.id, c.server.Issuer)
}

// direct is a client that follows no redirect: a credential that was meant for one address is not sent to another.
func direct(given *http.Client) *http.Client {
	out := http.Client{Timeout: defaultTimeout}
	if given != nil {
		out = *given
	}
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}

// nonces remembers the newest nonce of each server (RFC 9449 §8). It is bounded: a server's name comes from the caller.
type nonces struct {
	mu sync.Mutex
	of map[string]string
}

const maxNonces, maxNonceSize = 256, 1024

func newNonces() *nonces { return &nonces{of: map[string]string{}} }

func (n *nonces) get(server string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[server]
}

// put remembers a nonce, and reports whether there was one: exactly one, of the characters that RFC 9449 §8.1 allows.
func (n *nonces) put(server string, values []string) bool {
	if len(values) != 1 || values[0] == "" || len(values[0]) > maxNonceSize || strings.ContainsFunc(values[0], notNonce) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.of[server]; !known && len(n.of) >= maxNonces {
		clear(n.of) // a server that is asked again sends another
	}
	n.of[server] = values[0]
	return true
}

func notNonce(r rune) bool { return r < 0x21 || r == '"' || r == '\\' || r > 0x7e }
