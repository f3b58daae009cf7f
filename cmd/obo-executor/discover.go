package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

const (
	metadataTimeout = 5 * time.Second
	maxMetadata     = 64 << 10
	metadataPause   = time.Second // least time between two attempts
)

// keySource finds the token server's keys: at jwks_url, else where the issuer's metadata says (RFC 8414 section 3).
func keySource(cfg config.Executor) (delegation.KeySource, error) {
	if cfg.JWKSURL != "" {
		return delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: cfg.JWKSURL})
	}
	return &discovered{issuer: cfg.Issuer, now: time.Now, client: &http.Client{
		Timeout:       metadataTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// discovered is a KeySource that asks the metadata on first use, and again as long as they cannot be had: the executor may
// start before the token server.
type discovered struct {
	issuer string
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	keys   *delegation.RemoteKeys
	tried  time.Time
	failed error
}

// Key implements delegation.KeySource.
func (d *discovered) Key(ctx context.Context, kid string, alg jose.Algorithm) (jose.Key, error) {
	keys, err := d.remote(ctx)
	if err != nil {
		return jose.Key{}, fmt.Errorf("%w: issuer metadata: %w", delegation.ErrUnavailable, err)
	}
	return keys.Key(ctx, kid, alg)
}

func (d *discovered) remote(ctx context.Context) (*delegation.RemoteKeys, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys != nil {
		return d.keys, nil
	}
	if d.failed != nil && d.now().Sub(d.tried) < metadataPause {
		return nil, d.failed
	}
	// The first caller asks for all; it must not fail the others by leaving.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), metadataTimeout)
	defer cancel()
	location, err := d.jwksURL(ctx)
	if err == nil {
		d.keys, err = delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: location})
	}
	d.tried, d.failed = d.now(), err
	return d.keys, err
}

// jwksURL reads jwks_uri of the issuer's metadata, which must name the very issuer (MD1).
func (d *discovered) jwksURL(ctx context.Context) (string, error) {
	location, err := metadataURL(d.issuer)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return "", err
	}
	response, err := d.client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", location, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMetadata+1))
	if err != nil || len(body) > maxMetadata {
		return "", fmt.Errorf("%s: the answer cannot be read or is too long", location)
	}
	var m struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := jose.Decode(body, &m); err != nil {
		return "", fmt.Errorf("%s: %w", location, err)
	}
	if m.Issuer != d.issuer || m.JWKSURI == "" {
		return "", fmt.Errorf("%s is the metadata of another issuer, or names no jwks_uri", location)
	}
	if !sameOrigin(m.JWKSURI, d.issuer) {
		return "", fmt.Errorf("%s names a jwks_uri of another server: if that is meant, set jwks_url", location)
	}
	return m.JWKSURI, nil
}

// sameOrigin keeps a document from sending us to any place of its choice (JW13). Where keys come from elsewhere, the operator
// says so.
func sameOrigin(a, b string) bool {
	first, err := url.Parse(a)
	second, errSecond := url.Parse(b)
	return err == nil && errSecond == nil && first.Scheme == second.Scheme && strings.EqualFold(first.Host, second.Host)
}

// metadataURL puts the well-known path between host and path (RFC 8414 section 3.1).
func metadataURL(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return "", errors.New("issuer is no URL")
	}
	u.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
	return u.String(), nil
}
