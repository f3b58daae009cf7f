// Package delegationfeed keeps a service's verifier up to date with what is revoked, from the feed of obo-sts.
//
//	feed, err := delegationfeed.Follow(ctx, delegationfeed.Config{
//		Addresses: []string{"sts.example:8443"}, TokenFile: "/etc/service/feed.token",
//	})
//	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{…, Revocations: feed})
//
// A token is then refused within milliseconds of its revocation (delegation.ErrRevoked). A feed that has not been heard of
// for longer than its bound (Config.StaleAfter, 5 s unless set) makes every verification fail with delegation.ErrUnavailable
// until it is heard of again: what was revoked meanwhile is not known. So does one that has never been heard of. It recovers
// by itself, and with several addresses it turns to another replica before the bound has passed.
//
// The operator sees every follower, and what it has in force, with `obo followers`.
package delegationfeed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/feedgrpc"
)

// Config says what to follow.
type Config struct {
	// Addresses are host:port of the token server's gRPC listener; further ones are other replicas, tried in turn. Required.
	Addresses []string
	// TokenFile is a file with the follower credential. It is read whenever the feed is opened, so that a new one takes
	// effect. Required.
	TokenFile string
	// TLS says whom to trust. Default: the system's roots; and plaintext for a loopback address.
	TLS *tls.Config
	// Name is how `obo followers` lists this process: 1 to 63 of letters, digits, '.', '_', ':' and '-'. Default: the host's.
	Name string
	// StaleAfter is how long tokens are verified without hearing from the feed, 1 s to 60 s. Default 5 s.
	StaleAfter time.Duration
	// Log is told when the feed is lost. Default slog.Default().
	Log *slog.Logger
}

// Feed knows what is revoked. It is safe for concurrent use.
type Feed struct {
	set      *revocation.Set
	follower *revocation.Follower
	stop     context.CancelFunc
	done     chan struct{}
}

// Feed is what a Verifier asks.
var _ delegation.Revocations = (*Feed)(nil)

// Follow begins to follow and returns at once; until Ready is closed the feed refuses everything. It follows until ctx ends
// or Close is called.
func Follow(ctx context.Context, c Config) (*Feed, error) {
	if c.Name == "" {
		host, _ := os.Hostname() // a host without a name is listed as unnamed
		c.Name = revocation.NameOf(host)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case len(c.Addresses) == 0:
		return nil, errors.New("delegationfeed: Addresses is empty: name the gRPC listener of obo-sts, such as sts.example:8443")
	case c.StaleAfter != 0 && (c.StaleAfter < time.Second || c.StaleAfter > time.Minute):
		return nil, fmt.Errorf("delegationfeed: StaleAfter is %s: it must be 1 s to 60 s", c.StaleAfter)
	}
	if _, err := c.token(); err != nil {
		return nil, err
	}
	feeds := make([]revocation.Feed, len(c.Addresses))
	for i, address := range c.Addresses {
		secure, err := c.tls(address)
		if err != nil {
			return nil, err
		}
		feeds[i] = feedgrpc.Client{Address: address, TLS: secure, Token: c.token}
	}
	f := &Feed{set: revocation.NewSet(c.StaleAfter), done: make(chan struct{})}
	var err error
	f.follower, err = revocation.NewFollower(revocation.FollowerConfig{Feeds: feeds, Set: f.set, Name: c.Name, Log: c.Log})
	if err != nil {
		return nil, fmt.Errorf("delegationfeed: %w", err)
	}
	ctx, f.stop = context.WithCancel(ctx)
	go func() {
		defer close(f.done)
		_ = f.follower.Run(ctx) // its only end is that of ctx
	}()
	return f, nil
}

// Check implements delegation.Revocations.
func (f *Feed) Check(c *delegation.Claims, now time.Time) error { return f.set.Check(c, now) }

// CheckKey implements delegation.Revocations.
func (f *Feed) CheckKey(kid string, now time.Time) error { return f.set.CheckKey(kid, now) }

// Ready is closed once all that is revoked is known for the first time.
func (f *Feed) Ready() <-chan struct{} { return f.follower.Ready() }

// Fresh returns nil, or delegation.ErrUnavailable, wrapped, when the feed refuses everything: for a service's own health.
func (f *Feed) Fresh() error { return f.set.Fresh(time.Now()) }

// Close stops following, and returns when that is done. The feed refuses everything once its bound has passed.
func (f *Feed) Close() error {
	f.stop()
	<-f.done
	return nil
}

// maxToken bounds what is read as a credential.
const maxToken = 4 << 10

// token reads the credential.
func (c Config) token() (telemetry.Secret, error) {
	file, err := os.Open(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("delegationfeed: the follower credential: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("delegationfeed: the follower credential: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if len(data) > maxToken || token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("delegationfeed: %s holds no credential: copy feed.token of obo-sts", c.TokenFile)
	}
	return telemetry.Secret(token), nil
}

// tls is what an address is dialled with; nil is plaintext, for a loopback address only.
func (c Config) tls(address string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("delegationfeed: the address %q is no host:port: %w", address, err)
	}
	if c.TLS == nil {
		if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.Unmap().IsLoopback() {
			return nil, nil
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}, nil
	}
	secure := c.TLS.Clone()
	secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	if secure.ServerName == "" {
		secure.ServerName = host
	}
	return secure, nil
}
