package connection

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// Leases is one org's rights to refresh, each of one process for a time. A method of a holder whom another has followed MUST answer
// store.ErrConflict, and AcquireRefresh too while another holds the right.
type Leases interface {
	AcquireRefresh(ctx context.Context, connection string, now, until time.Time) (store.Refreshing, error)
	SpendRefresh(ctx context.Context, r store.Refreshing, spent []byte, now time.Time) error
	ReleaseRefresh(ctx context.Context, r store.Refreshing, settled bool) error
}

// KeeperStore is one org's part of the store, as its credentials are kept alive.
type KeeperStore interface {
	Store
	Leases
	Client(ctx context.Context, name string) (store.Client, error)
}

// Vault seals credentials and lends them.
type Vault interface {
	Seal(ctx context.Context, org delegation.OrgID, connection string, version int64, c vault.Credential) ([]byte, error)
	Use(ctx context.Context, org delegation.OrgID, conn store.Connection, f func(vault.Credential) error) error
}

// KeeperConfig is what a Keeper is made of. Every field is required.
type KeeperConfig struct {
	Org         func(delegation.OrgID) KeeperStore
	Providers   *Catalog
	Vault       Vault
	HTTP        *http.Client // an egress client; redirects are never followed
	RedirectURI string       // where providers send users back
	Now         func() time.Time
	Log         *slog.Logger
}

// Keeper makes credentials ready to be spent: grants by refresh, service accounts by minting. It is safe for many goroutines, and
// many processes may share the store.
//
// A refresh token may be good for one use. So one process at a time spends it (a lease with a fencing number), the intent is on record
// before it is sent, and what comes back is on record before anybody uses it, whether or not its caller still waits. When an answer
// is lost, that is a state of its own: see next.
type Keeper struct {
	KeeperConfig
	client  http.Client
	flights singleflight.Group
	minted  minted
	pauses  pauses
	running sync.WaitGroup
}

// NewKeeper makes a Keeper.
func NewKeeper(c KeeperConfig) (*Keeper, error) {
	if c.Org == nil || c.Providers == nil || c.Vault == nil || c.HTTP == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("connection: KeeperConfig needs every field")
	}
	k := &Keeper{KeeperConfig: c, client: *c.HTTP}
	k.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	k.client.Jar = nil
	return k, nil
}

const (
	// sendFor bounds a request to a token endpoint.
	sendFor = 20 * time.Second
	// leaseFor is the life of a lease: longer than any request, so that a holder whose lease has ended is not sending any more.
	leaseFor = sendFor + 10*time.Second
	// persistFor is how long a new grant is tried to be stored: it exists nowhere else.
	persistFor = 2 * time.Minute
	// waitFor is how long a caller waits for a refresh of another process.
	waitFor = leaseFor + 5*time.Second
	// pollEvery is how often the waiting look.
	pollEvery = 50 * time.Millisecond
)

// Ready makes a connection's credential ready to be spent on scopes of the provider's. What it returns is the connection to spend:
// with its newest credential, or one that was minted from it.
func (k *Keeper) Ready(ctx context.Context, org delegation.OrgID, c store.Connection, scopes []string) (store.Connection, Outcome) {
	switch Pattern(c.Pattern) {
	case OAuth:
		now := k.Now()
		if !usable(c, now) {
			return k.renew(ctx, org, c, need{})
		}
		if soon(c, now) && !k.pauses.paused(org, c.ID, now) {
			k.running.Go(func() { k.renew(context.WithoutCancel(ctx), org, c, need{refused: c.Version, ahead: true}) })
		}
	case ServiceAccount:
		return k.mint(ctx, org, c, scopes, false)
	}
	return c, Outcome{Result: ResultFresh}
}

// Renew makes another credential, because the provider did not take the one that Ready gave.
func (k *Keeper) Renew(ctx context.Context, org delegation.OrgID, c store.Connection, scopes []string) (store.Connection, Outcome) {
	switch Pattern(c.Pattern) {
	case OAuth:
		return k.renew(ctx, org, c, need{refused: c.Version})
	case ServiceAccount:
		return k.mint(ctx, org, c, scopes, true)
	}
	return k.refusedKey(ctx, org, c)
}

const (
	lookEvery = 10 * time.Second
	atOnce    = 8 // refreshes that nobody waits for
)

// Run refreshes grants that nobody spends before their providers forget them, until ctx ends, and then waits for the refreshes that go
// on. due lists what is due at a time.
func (k *Keeper) Run(ctx context.Context, due func(ctx context.Context, now time.Time, limit int) ([]store.OrgConnection, error)) error {
	defer k.running.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			found, err := due(ctx, k.Now(), store.MaxPage)
			if err != nil {
				k.Log.WarnContext(ctx, "what is due cannot be read", "error", err)
				continue
			}
			k.keepAll(ctx, found)
		}
	}
}

// keepAll refreshes connections, some at once.
func (k *Keeper) keepAll(ctx context.Context, found []store.OrgConnection) {
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, f := range found {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			c, err := k.Org(f.Org).Connection(ctx, f.ID)
			if err == nil && !k.pauses.paused(f.Org, f.ID, k.Now()) {
				k.renew(ctx, f.Org, c, need{refused: c.Version, ahead: true})
			}
		})
	}
	all.Wait()
}

// need is why a refresh is asked for.
type need struct {
	refused int64 // the version whose access token is not wanted any more; 0: that which has ended
	ahead   bool  // it is still good
}

// flown is what came of a flight.
type flown struct {
	conn store.Connection
	Outcome
}

// renew refreshes once for all who ask at the same time in this process. It goes on when its callers have left: a token that was
// spent must not be lost with them.
func (k *Keeper) renew(ctx context.Context, org delegation.OrgID, c store.Connection, n need) (store.Connection, Outcome) {
	if out, over := ended(c); over {
		return c, out
	}
	if out, paused := k.pauses.outcome(org, c.ID, k.Now()); paused {
		return c, out
	}
	conn, out := k.once(ctx, org, c, fmt.Sprintf("%s|%s|%v", org, c.ID, n), func(ctx context.Context) (store.Connection, Outcome) {
		return k.refresh(ctx, org, c, n)
	})
	if out.Good() && !same(c, conn) {
		return c, Outcome{Result: ResultRevoked, Evidence: "the connection was deleted"}
	}
	return conn, out
}

// once does something for all who ask for it at the same time in this process. It goes on when they have left.
func (k *Keeper) once(
	ctx context.Context, org delegation.OrgID, c store.Connection, key string, f func(ctx context.Context) (store.Connection, Outcome),
) (store.Connection, Outcome) {
	done := k.flights.DoChan(key, func() (any, error) {
		k.running.Add(1)
		defer k.running.Done()
		conn, out := f(context.WithoutCancel(ctx))
		k.pauses.note(org, c.ID, out, k.Now())
		if !out.Good() {
			k.Log.WarnContext(ctx, "a connection's credential could not be renewed", "org", org, "connection", c.ID, "provider", c.Provider,
				"outcome", string(out.Result), "evidence", out.Evidence)
		}
		return flown{conn, out}, nil
	})
	select {
	case <-ctx.Done():
		return c, Outcome{Result: ResultTransient, Evidence: "the caller left"}
	case r := <-done:
		f, _ := r.Val.(flown)
		return f.conn, f.Outcome
	}
}

// same reports whether two states are of one connection. Another may have got the id of one that was deleted, and be another user's:
// whoever may spend the one may not spend that (EX7).
func same(a, b store.Connection) bool {
	return a.ID == b.ID && a.Provider == b.Provider && a.Pattern == b.Pattern && a.Subject == b.Subject && a.Created.Equal(b.Created)
}

// refresh takes the right to refresh and does it, or waits for whoever has it.
func (k *Keeper) refresh(ctx context.Context, org delegation.OrgID, c store.Connection, n need) (store.Connection, Outcome) {
	ctx, cancel := context.WithTimeout(ctx, waitFor+sendFor+persistFor)
	defer cancel()
	s := k.Org(org)
	end := time.Now().Add(waitFor)
	for {
		now := k.Now().UTC().Truncate(time.Microsecond)
		lease, err := s.AcquireRefresh(ctx, c.ID, now, now.Add(leaseFor))
		if err == nil {
			conn, out, settled := k.hold(ctx, org, lease, c.ID, n)
			if err := s.ReleaseRefresh(ctx, lease, settled); err != nil && !errors.Is(err, store.ErrConflict) {
				k.Log.WarnContext(ctx, "a lease was not given back; it ends by itself", "org", org, "connection", c.ID, "error", err)
			}
			return conn, out
		}
		if !errors.Is(err, store.ErrConflict) {
			return c, k.unavailable(ctx, "store", err)
		}
		current, err := s.Connection(ctx, c.ID)
		if err != nil {
			return c, k.missing(ctx, err)
		}
		if usable(current, now) && current.Version != n.refused {
			return current, Outcome{Result: ResultLostRace}
		}
		if out, over := ended(current); over {
			return current, out
		}
		if time.Now().After(end) {
			return c, Outcome{Result: ResultTransient, Evidence: "another process refreshes it, and does not finish"}
		}
		select {
		case <-ctx.Done():
			return c, Outcome{Result: ResultTransient, Evidence: "no time left"}
		case <-time.After(pollEvery):
		}
	}
}

func (k *Keeper) unavailable(ctx context.Context, what string, err error) Outcome {
	k.Log.ErrorContext(ctx, "a connection cannot be refreshed now", "cause", what, "error", err)
	return Outcome{Result: ResultTransient, Evidence: what + " does not answer"}
}

func (k *Keeper) missing(ctx context.Context, err error) Outcome {
	if errors.Is(err, store.ErrNotFound) {
		return Outcome{Result: ResultRevoked, Evidence: "the connection was deleted"}
	}
	return k.unavailable(ctx, "store", err)
}

// hold does what the holder of the right does. settled says whether it is known what became of what was spent.
func (k *Keeper) hold(
	ctx context.Context, org delegation.OrgID, lease store.Refreshing, id string, n need,
) (conn store.Connection, out Outcome, settled bool) {
	c, err := k.Org(org).Connection(ctx, id)
	if err != nil {
		return store.Connection{}, k.missing(ctx, err), false
	}
	p, g, err := k.grants(ctx, org, c.Provider)
	if err != nil {
		return c, Outcome{Result: ResultOperatorConfig, Evidence: err.Error()}, false
	}
	refresh, err := k.refreshToken(ctx, org, c)
	if err != nil {
		return c, lendError(err), false
	}
	defer clear(refresh)
	token := digestOf(refresh)
	what, out := next(c, g, lease, token, n.refused, k.Now())
	switch what {
	case moveUse:
		return c, out, !bytes.Equal(lease.Spent, token)
	case moveStop:
		conn, out = k.conclude(ctx, org, c, refresh, n, out)
		return conn, out, out.Result != ResultUncertain && out.Result != ResultTransient
	}
	return k.spend(ctx, org, c, spending{p, g, lease, refresh, token, n})
}

// spending is what a refresh token is spent with.
type spending struct {
	p       Provider
	g       *grantRules
	lease   store.Refreshing
	refresh []byte
	token   []byte // its SHA-256
	need
}

// spend sends the refresh token, with the intent on record before, and stores what comes back.
func (k *Keeper) spend(ctx context.Context, org delegation.OrgID, c store.Connection, s spending) (conn store.Connection, out Outcome, settled bool) {
	var grant Grant
	var sent answered
	err := k.lend(ctx, org, s.p.name, func(client Client) error {
		client.Settings = merged(client.Settings, c.Settings)
		r, err := s.p.RefreshRequest(ctx, client, s.refresh, k.RedirectURI)
		if err != nil {
			return err
		}
		if err := k.Org(org).SpendRefresh(ctx, s.lease, s.token, k.Now().UTC().Truncate(time.Microsecond)); err != nil {
			return fmt.Errorf("%w: %w", errIntent, err)
		}
		grant, sent = k.send(r, s.p, OAuth)
		return nil
	})
	switch {
	case errors.Is(err, errIntent) && errors.Is(err, store.ErrConflict):
		return c, Outcome{Result: ResultTransient, Evidence: "another process took over"}, false
	case errors.Is(err, errIntent): // nothing was sent; but the intent may be on record, and the next holder cannot know
		return c, k.unavailable(ctx, "store", err), true
	case err != nil:
		conn, out = k.conclude(ctx, org, c, s.refresh, s.need, lendError(err))
		return conn, out, true
	case sent.grant:
		conn, out = k.persist(ctx, org, c, s, grant)
		return conn, out, out.Good()
	case sent.unknown(s.g):
		if s.g.reuse > 0 {
			return c, Outcome{Result: ResultTransient, Evidence: "no answer came; the token may be sent again for " + s.g.reuse.String()}, false
		}
		out = Outcome{Result: ResultUncertain, Evidence: "the refresh token was sent and no answer came; the provider takes it once"}
		conn, out = k.conclude(ctx, org, c, s.refresh, s.need, out)
		return conn, out, false
	}
	conn, out = k.conclude(ctx, org, c, s.refresh, s.need, outcomeOf(sent.refusal))
	return conn, out, true
}

var errIntent = errors.New("connection: the intent is not on record")

// answered is how a request to a token endpoint ended.
type answered struct {
	grant   bool
	left    bool // the request was sent, whole or in part
	refusal *Refusal
}

// unknown reports whether a single-use token may be spent, and nobody knows. A gateway that answers for the server does not know
// either.
func (a answered) unknown(g *grantRules) bool {
	if g.rotation == RotationNever || g.rotation == RotationKept {
		return false
	}
	return a.left && a.refusal.Status == 0 || a.refusal.Status == http.StatusBadGateway || a.refusal.Status == http.StatusGatewayTimeout
}

// send makes a request to a token endpoint and reads the answer.
func (k *Keeper) send(r *http.Request, p Provider, pattern Pattern) (Grant, answered) {
	ctx, cancel := context.WithTimeout(r.Context(), sendFor)
	defer cancel()
	var left atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { left.Store(true) },
	}))
	r.GetBody = nil // no transport may send it again by itself
	response, err := k.client.Do(r)
	none := &Refusal{Failure: Failure{Kind: Unavailable}}
	if err != nil {
		k.Log.WarnContext(ctx, "no answer from a token endpoint", "provider", p.name, "left", left.Load())
		return Grant{}, answered{left: left.Load(), refusal: none}
	}
	defer response.Body.Close()
	body, err := readAll(response.Body, MaxTokenAnswer)
	if err != nil {
		return Grant{}, answered{left: true, refusal: none}
	}
	defer clear(body)
	grant, err := p.ReadGrant(pattern, response.StatusCode, response.Header, body, k.Now())
	if refusal, refused := errors.AsType[*Refusal](err); refused {
		return Grant{}, answered{left: true, refusal: refusal}
	}
	return grant, answered{left: true, grant: true}
}

// grants finds the provider of a connection and what its record says of grants.
func (k *Keeper) grants(ctx context.Context, org delegation.OrgID, name string) (Provider, *grantRules, error) {
	p, ok, err := k.Providers.Provider(ctx, org, name)
	if err != nil {
		return Provider{}, nil, err
	}
	if !ok || p.oauth == nil {
		return Provider{}, nil, fmt.Errorf("provider %s has no record for grants", cut(name, 64))
	}
	return p, p.oauth, nil
}

// refreshToken copies the refresh token of a connection, nil when there is none. Whoever has it clears it.
func (k *Keeper) refreshToken(ctx context.Context, org delegation.OrgID, c store.Connection) (refresh []byte, err error) {
	err = k.Vault.Use(ctx, org, c, func(credential vault.Credential) error {
		refresh = bytes.Clone(credential.Refresh())
		return nil
	})
	return refresh, err
}

// lend lends the org's client at a provider.
func (k *Keeper) lend(ctx context.Context, org delegation.OrgID, provider string, f func(Client) error) error {
	return lendClient(ctx, k.Org(org), k.Vault, org, provider, f)
}

// ErrNoClient says that the org has no client at a provider.
var ErrNoClient = errors.New("connection: the org has no client")

func noClient(name string) error {
	return fmt.Errorf("%w at %s: an administrator registers one with `obo connect client set %s`", ErrNoClient, name, name)
}

type clients interface {
	Client(ctx context.Context, name string) (store.Client, error)
}

func lendClient(ctx context.Context, s clients, v Vault, org delegation.OrgID, name string, f func(Client) error) error {
	row, err := s.Client(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return noClient(name)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	client := Client{ID: row.ClientID, Settings: row.Settings}
	if len(row.Sealed) == 0 {
		return f(client)
	}
	sealed := store.Connection{ID: vault.ForClient(name), Version: row.Version, Sealed: row.Sealed}
	return v.Use(ctx, org, sealed, func(secret vault.Credential) error {
		client.Secret = secret
		return f(client)
	})
}

var errStore = errors.New("connection: the store does not answer")

// lendError is the outcome when something cannot be lent.
func lendError(err error) Outcome {
	switch {
	case errors.Is(err, vault.ErrUnavailable), errors.Is(err, errStore):
		return Outcome{Result: ResultTransient, Evidence: "the store does not answer"}
	case errors.Is(err, vault.ErrDestroyed):
		return Outcome{Result: ResultRevoked, Evidence: ReasonShredded}
	case errors.Is(err, ErrNoClient):
		return Outcome{Result: ResultOperatorConfig, Evidence: "the org has no client at the provider"}
	case errors.Is(err, ErrInvalid):
		return Outcome{Result: ResultOperatorConfig, Evidence: "the settings of the client or the connection are not in order"}
	case errors.Is(err, vault.ErrOpen):
		return Outcome{Result: ResultOperatorConfig, Evidence: "a sealed credential does not open"}
	}
	return Outcome{Result: ResultOperatorConfig, Evidence: "the request to the provider cannot be built"}
}

func digestOf(token []byte) []byte {
	if len(token) == 0 {
		return nil
	}
	sum := sha256.Sum256(token)
	return sum[:]
}

// merged are settings, of which the later win.
func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}
