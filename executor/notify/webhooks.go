package notify

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

// The reasons why a webhook cannot be put. Compare with errors.Is; the texts say what to do.
var (
	ErrURL    = errors.New("notify: not the URL of a webhook")
	ErrSecret = errors.New("notify: not the secret of a webhook")
)

// Puts are one org's webhook, for those who administer it. PutWebhook MUST answer store.ErrConflict unless the version is the
// stored one plus 1, and DeleteWebhook store.ErrNotFound when the version is another.
type Puts interface {
	Webhook(ctx context.Context) (store.Webhook, error)
	PutWebhook(ctx context.Context, w store.Webhook) error
	DeleteWebhook(ctx context.Context, version int64) error
	ConnectionHead(ctx context.Context) (uint64, error)
}

// Sealer seals the secrets of webhooks. vault.Vault does.
type Sealer interface {
	Seal(ctx context.Context, org delegation.OrgID, connection string, version int64, c vault.Credential) ([]byte, error)
}

// WebhooksConfig is what Webhooks are made of. Every field but AllowLoopback is required.
type WebhooksConfig struct {
	Org           func(delegation.OrgID) Puts
	Vault         Sealer
	Send          Sender
	AllowLoopback bool // for development: receivers on this machine, without TLS
	Now           func() time.Time
}

// Webhooks keeps the webhooks of all orgs.
type Webhooks struct{ WebhooksConfig }

// NewWebhooks makes Webhooks.
func NewWebhooks(c WebhooksConfig) (*Webhooks, error) {
	if c.Org == nil || c.Vault == nil || c.Send.Vault == nil || c.Send.HTTP == nil || c.Now == nil {
		return nil, errors.New("notify: WebhooksConfig needs every field")
	}
	return &Webhooks{c}, nil
}

// Get is the org's webhook, or store.ErrNotFound, and the number of the org's newest event.
func (k *Webhooks) Get(ctx context.Context, org delegation.OrgID) (w store.Webhook, newest uint64, err error) {
	if w, err = k.Org(org).Webhook(ctx); err != nil {
		return w, 0, err
	}
	newest, err = k.Org(org).ConnectionHead(ctx)
	return w, newest, err
}

// Proposal is a webhook that was checked against what there is.
type Proposal struct {
	Before store.Webhook    // version 0: there is none
	After  store.Webhook    // without its secret
	Newest uint64           // the number of the org's newest event
	Secret telemetry.Secret // that was generated; empty: one was given
	key    []byte
}

// Propose checks a webhook, and says what putting it would come to. Without a secret it makes one: whoever changes the URL must
// not have what was signed for another place.
func (k *Webhooks) Propose(
	ctx context.Context, org delegation.OrgID, address string, secret telemetry.Secret,
) (p Proposal, err error) {
	if err := checkURL(address, k.AllowLoopback); err != nil {
		return Proposal{}, err
	}
	if secret != "" {
		p.key, err = parseSecret(secret)
	} else {
		p.key, p.Secret = newSecret()
	}
	if err != nil {
		return Proposal{}, err
	}
	now := k.Now().UTC().Truncate(time.Microsecond)
	if p.Newest, err = k.Org(org).ConnectionHead(ctx); err != nil {
		return Proposal{}, err
	}
	p.After = store.Webhook{URL: address, Version: 1, Created: now, Updated: now, Delivered: p.Newest}
	p.Before, err = k.Org(org).Webhook(ctx)
	switch {
	case err == nil:
		p.After.Version, p.After.Created, p.After.Delivered = p.Before.Version+1, p.Before.Created, p.Before.Delivered
	case !errors.Is(err, store.ErrNotFound):
		return Proposal{}, err
	}
	return p, nil
}

// Put stores what was proposed. store.ErrConflict says that the webhook is not as it was then.
func (k *Webhooks) Put(ctx context.Context, org delegation.OrgID, p Proposal) (err error) {
	w := p.After
	if w.Sealed, err = k.Vault.Seal(ctx, org, vault.ForWebhook, w.Version, vault.NewCredential("", p.key)); err != nil {
		return err
	}
	return k.Org(org).PutWebhook(ctx, w)
}

// Delete deletes the webhook of a version with its secret; store.ErrNotFound when there is none.
func (k *Webhooks) Delete(ctx context.Context, org delegation.OrgID, version int64) error {
	return k.Org(org).DeleteWebhook(ctx, version)
}

// Test posts a message that says it is a test. A *Failure says why it was not taken.
func (k *Webhooks) Test(ctx context.Context, org delegation.OrgID, w store.Webhook) error {
	now := k.Now()
	m, err := testMessage(org, now)
	if err != nil {
		return err
	}
	err = k.Send.send(ctx, org, w, m, now)
	if errors.Is(err, errSecret) {
		return &Failure{What: "its secret does not open any more: put the webhook again", cause: err}
	}
	return err
}

const maxURL = 2048

// checkURL wants https, and no more in it than a place. Which addresses may be reached is egress's to decide, at each dial.
func checkURL(text string, loopback bool) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return fmt.Errorf("%w: it has more than %d bytes", ErrURL, maxURL)
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%w: give an absolute https URL, such as https://hooks.example/obo", ErrURL)
	case u.User != nil || u.Fragment != "" || strings.ContainsAny(text, "#\\"):
		return fmt.Errorf("%w: it must have no user, password or fragment", ErrURL)
	case u.Scheme == "https", u.Scheme == "http" && loopback && onLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%w: it must be https", ErrURL)
}

func onLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, prefix := range egress.Loopback() {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// A secret is whsec_ and 24 to 64 bytes in base64 (Standard Webhooks).
const (
	secretPrefix = "whsec_"
	minKey       = 24
	maxKey       = 64
	newKey       = 32
)

func newSecret() ([]byte, telemetry.Secret) {
	key := make([]byte, newKey)
	_, _ = rand.Read(key) // it never fails: the process ends when there is no randomness
	return key, telemetry.Secret(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// parseSecret takes one text for each key, as others make it too.
func parseSecret(secret telemetry.Secret) ([]byte, error) {
	text, ok := strings.CutPrefix(secret.Reveal(), secretPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || base64.StdEncoding.EncodeToString(key) != text || len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("%w: give %s and the base64 of %d to %d random bytes, or nothing, and one is made",
			ErrSecret, secretPrefix, minKey, maxKey)
	}
	return key, nil
}
