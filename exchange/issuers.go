package exchange

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// The bounds of talking to identity providers.
const (
	discoveryTimeout = 5 * time.Second
	discoveryAge     = time.Hour       // then a discovery document is fetched anew
	discoveryRetry   = 5 * time.Second // least time between two tries that failed
	maxDiscovery     = 256 << 10       // bytes
	maxProviders     = 10_000          // discovered issuers kept in memory
	discoveryPath    = "/.well-known/openid-configuration"
	transmitterPath  = "/.well-known/ssf-configuration"
)

// issuers verifies tokens of the identity providers that orgs trust.
type issuers struct {
	own    string // our own issuer: its tokens are no logins
	client *http.Client
	now    func() time.Time
	where  func(issuer string) (string, error)      // the URL of an issuer's discovery document
	logins *otter.Cache[loginKey, *rememberedLogin] // nil when nothing is remembered

	flights singleflight.Group
	mu      sync.Mutex
	known   map[string]*provider // by issuer URL; only URLs that an org registered come here
}

// provider is an identity provider as its discovery document describes it.
type provider struct {
	jwksURI string
	keys    *delegation.RemoteKeys // nil until discovery succeeded
	renew   time.Time              // when to fetch the document again
	failure error                  // of the last try
}

// loginKey is an org and the SHA-256 of a token: what one org trusts, another may not.
type loginKey struct {
	org delegation.OrgID
	sum [sha256.Size]byte
}

// rememberedLogin is a login whose signature and claims were good under one version of the org's configuration. What can
// change since is asked at every use: the time, the configuration, and whether the issuer still publishes the key.
type rememberedLogin struct {
	login   *login
	version int64
	label   string
	keys    *delegation.RemoteKeys
	key     jose.Key
	until   time.Time // when the token is too old to be used
}

func newIssuers(cfg Config) (*issuers, error) {
	client := *cfg.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // JW13
	i := &issuers{own: cfg.Issuer, client: &client, now: cfg.Now, where: providerURL, known: map[string]*provider{}}
	if cfg.Remember < 0 {
		return i, nil
	}
	logins, err := otter.New(&otter.Options[loginKey, *rememberedLogin]{MaximumSize: cfg.Remember})
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	i.logins = logins
	return i, nil
}

// newTransmitters finds the keys of transmitters of security events. They have discovery documents of their own (SSF §7).
func newTransmitters(cfg Config) (*issuers, error) {
	cfg.Remember = -1
	i, err := newIssuers(cfg)
	if err == nil {
		i.where = transmitterURL
	}
	return i, err
}

func providerURL(issuer string) (string, error) {
	return strings.TrimSuffix(issuer, "/") + discoveryPath, nil
}

// transmitterURL puts the path between the host and the path of the issuer (SSF §7.2).
func transmitterURL(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", fmt.Errorf("exchange: discovery: %w", err)
	}
	return u.Scheme + "://" + u.Host + transmitterPath + strings.TrimSuffix(u.EscapedPath(), "/"), nil
}

// verify accepts a token of an issuer that the org trusts. The error is a flaw, an *Error or the context's.
func (i *issuers) verify(ctx context.Context, org *registry.Org, token, label string, now time.Time) (*login, error) {
	key := loginKey{org.ID(), sha256.Sum256([]byte(token))}
	if l, ok := i.recall(ctx, key, org, label, now); ok {
		return l, nil
	}
	m, err := jose.Parse(token)
	if err != nil {
		return nil, flaw("it is not a signed JWT")
	}
	trust, err := i.trusted(org, m, label)
	if err != nil {
		return nil, err
	}
	l, keys, k, err := i.open(ctx, trust, m, org.ID(), label, now)
	switch {
	case err != nil:
		return nil, err
	case trust.AcceptsType(registry.TokenTypeAssertion) && i.toUs(l.audience): // JW4: it is used once, for what it names
		return nil, flaw("its issuer makes assertions for this server: present it with the grant " + GrantJWTBearer)
	}
	if i.logins != nil {
		until := l.issuedAt.Add(MaxLoginAge)
		if l.subject.Expiry.Before(until) {
			until = l.subject.Expiry
		}
		i.logins.Set(key, &rememberedLogin{login: l, version: org.Version(), label: label, keys: keys, key: k, until: until})
	}
	return l, nil
}

// open verifies a token by what its issuer publishes, and reads it as a login.
func (i *issuers) open(ctx context.Context, trust *registry.Trust, m jose.Message, org delegation.OrgID, label string, now time.Time) (
	*login, *delegation.RemoteKeys, jose.Key, error,
) {
	keys, k, err := i.key(ctx, trust.URL, m)
	if err != nil {
		return nil, nil, k, err
	}
	payload, err := m.Verify(k)
	if err != nil {
		return nil, nil, k, flaw("its signature does not verify")
	}
	l, err := readLogin(payload, trust, org, label, now)
	return l, keys, k, err
}

// toUs reports whether an audience is this server, as assertions may name it (JG1).
func (i *issuers) toUs(audience []string) bool {
	return slices.Contains(audience, i.own) || slices.Contains(audience, i.own+tokenEndpoint)
}

// key finds the key that an issuer publishes for a token of its own (JW3: only keys of this very issuer).
func (i *issuers) key(ctx context.Context, issuer string, m jose.Message) (*delegation.RemoteKeys, jose.Key, error) {
	keys, err := i.keys(ctx, issuer)
	if err != nil {
		return nil, jose.Key{}, err
	}
	k, err := keys.Key(ctx, m.KeyID(), m.Algorithm())
	switch {
	case errors.Is(err, delegation.ErrUnknownKey):
		return nil, jose.Key{}, flaw("its issuer publishes no key of that kid and alg")
	case err != nil && ctx.Err() != nil:
		return nil, jose.Key{}, ctx.Err()
	case err != nil:
		return nil, jose.Key{}, unavailable(err, "the keys of the token's issuer are not at hand")
	}
	return keys, k, nil
}

func (i *issuers) recall(ctx context.Context, key loginKey, org *registry.Org, label string, now time.Time) (*login, bool) {
	if i.logins == nil {
		return nil, false
	}
	r, ok := i.logins.GetIfPresent(key)
	if !ok {
		return nil, false
	}
	k, err := r.keys.Key(ctx, r.key.KeyID(), r.key.Algorithm())
	if err != nil || k.Thumbprint() != r.key.Thumbprint() || r.version != org.Version() || r.label != label || !now.Before(r.until) {
		i.logins.Invalidate(key)
		return nil, false
	}
	return r.login, true
}

// trusted finds the org's registration of the issuer that a token names, and checks what needs no key (JW1, JW5, TX5, TX6).
func (i *issuers) trusted(org *registry.Org, m jose.Message, label string) (*registry.Trust, error) {
	if t := m.Type(); t != "" && t != "jwt" {
		return nil, flaw("its typ is that of another kind of token")
	}
	var named struct {
		Issuer string `json:"iss"`
	}
	if err := jose.Decode(m.UnverifiedPayload(), &named); err != nil {
		return nil, flaw("its claims are malformed")
	}
	if named.Issuer == i.own {
		return nil, flaw("a token of this server is an access_token")
	}
	trust, ok := org.Issuer(named.Issuer)
	switch {
	case !ok:
		return nil, flaw("its issuer is not one that the org trusts")
	case !trust.AcceptsType(label):
		return nil, flaw("its issuer is not registered for tokens of that type")
	case !trust.AcceptsAlgorithm(m.Algorithm()):
		return nil, flaw("its issuer is not registered for that alg")
	}
	return trust, nil
}

// keys finds an issuer's keys by its discovery document (OpenID Connect Discovery 1.0 §4). While the issuer is away, what was
// discovered before goes on serving; RemoteKeys bounds for how long.
func (i *issuers) keys(ctx context.Context, issuer string) (*delegation.RemoteKeys, error) {
	keys, err, due := i.look(issuer)
	if keys == nil && due {
		select {
		case <-i.discover(ctx, issuer):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		keys, err, _ = i.look(issuer)
	} else if due {
		i.discover(ctx, issuer) // goes on by itself
	}
	if keys == nil {
		return nil, unavailable(err, "the token's issuer cannot be reached, or its discovery document is wrong")
	}
	return keys, nil
}

// look answers with what is known of an issuer, and whether to ask it.
func (i *issuers) look(issuer string) (keys *delegation.RemoteKeys, failure error, due bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.known[issuer]
	if p == nil {
		return nil, nil, true
	}
	return p.keys, p.failure, !i.now().Before(p.renew)
}

// discover fetches the document once for all who wait, on a context of its own.
func (i *issuers) discover(ctx context.Context, issuer string) <-chan singleflight.Result {
	return i.flights.DoChan(issuer, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
		defer cancel()
		uri, err := i.fetch(ctx, issuer)
		i.learn(issuer, uri, err)
		return nil, nil
	})
}

func (i *issuers) learn(issuer, uri string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.known[issuer]
	if p == nil {
		if len(i.known) >= maxProviders {
			clear(i.known)
		}
		p = &provider{}
		i.known[issuer] = p
	}
	now := i.now()
	if err == nil && (p.keys == nil || p.jwksURI != uri) {
		var keys *delegation.RemoteKeys
		if keys, err = delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: uri, Client: i.client, Now: i.now}); err == nil {
			p.keys, p.jwksURI = keys, uri
		}
	}
	p.failure = err
	p.renew = now.Add(discoveryAge)
	if err != nil {
		p.renew = now.Add(discoveryRetry)
	}
}

// fetch reads an issuer's discovery document and answers with its jwks_uri. The document must name the very issuer that it
// was asked of, or one issuer could hand out another's keys.
func (i *issuers) fetch(ctx context.Context, issuer string) (string, error) {
	where, err := i.where(issuer)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return "", fmt.Errorf("exchange: discovery: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := i.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("exchange: discovery: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("exchange: discovery: HTTP status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDiscovery+1))
	if err != nil {
		return "", fmt.Errorf("exchange: discovery: %w", err)
	}
	if len(body) > maxDiscovery {
		return "", fmt.Errorf("exchange: discovery: the document is longer than %d bytes", maxDiscovery)
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := jose.Decode(body, &doc); err != nil {
		return "", fmt.Errorf("exchange: discovery: %w", err)
	}
	if doc.Issuer != issuer {
		return "", errors.New("exchange: discovery: the document is of another issuer")
	}
	from, _ := url.Parse(issuer)
	if to, err := url.Parse(doc.JWKSURI); err != nil || to.Scheme != "https" && from.Scheme == "https" {
		return "", errors.New("exchange: discovery: jwks_uri is not https")
	}
	return doc.JWKSURI, nil
}
