package connection

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// minted remembers tokens of service accounts, sealed: shredding the org ends them with everything else.
type minted struct {
	mu     sync.Mutex
	tokens map[mintKey]mintedToken
}

// mintedToken is a token and the credential that it was made of, as sealed: a version alone says too little, because a connection that
// is deleted and made again begins with the first, and one that was sealed with another data key needs a token that is.
type mintedToken struct {
	store.Connection
	of [sha256.Size]byte
}

type mintKey struct {
	org    delegation.OrgID
	id     string
	scopes string
}

const maxMinted = 4096

// mint makes a token of a service account, or takes one that was made for the same version and scopes.
func (k *Keeper) mint(ctx context.Context, org delegation.OrgID, c store.Connection, scopes []string, again bool) (store.Connection, Outcome) {
	key := mintKey{org, c.ID, strings.Join(scopes, " ")}
	of := sha256.Sum256(c.Sealed)
	if known, ok := k.minted.get(key); ok && !again && known.of == of && known.Version == c.Version && usable(known.Connection, k.Now()) {
		return known.Connection, Outcome{Result: ResultFresh}
	}
	if out, paused := k.pauses.outcome(org, c.ID, k.Now()); paused {
		return c, out
	}
	flight := fmt.Sprintf("mint|%s|%s|%d|%x|%s", org, c.ID, c.Version, of, key.scopes)
	return k.once(ctx, org, c, flight, func(ctx context.Context) (store.Connection, Outcome) {
		conn, out := k.mintOnce(ctx, org, c, scopes)
		if out.Good() {
			k.minted.put(key, mintedToken{conn, of})
		}
		return conn, out
	})
}

func (k *Keeper) mintOnce(ctx context.Context, org delegation.OrgID, c store.Connection, scopes []string) (store.Connection, Outcome) {
	p, ok, err := k.Providers.Provider(ctx, org, c.Provider)
	if err != nil || !ok || p.service == nil {
		return c, Outcome{Result: ResultOperatorConfig, Evidence: "the provider's record has no service accounts"}
	}
	out := c
	var outcome Outcome
	err = k.Vault.Use(ctx, org, c, func(account vault.Credential) error {
		r, grant, err := p.MintRequest(ctx, Client{Settings: c.Settings}, account, scopes, k.Now())
		if err != nil {
			return err
		}
		if r != nil {
			var sent answered
			if grant, sent = k.send(r, p, ServiceAccount); !sent.grant {
				outcome = outcomeOf(sent.refusal)
				if outcome.Result != ResultTransient { // no user is there to be asked
					outcome.Result = ResultOperatorConfig
				}
				return nil
			}
		}
		defer clear(grant.Access)
		out.Expires, out.ID = grant.Expires, mintedID(c.ID)
		out.Sealed, err = k.Vault.Seal(ctx, org, out.ID, out.Version, vault.NewCredential("", grant.Access))
		outcome = Outcome{Result: ResultRefreshed}
		return err
	})
	if err != nil {
		return c, lendError(err)
	}
	if !outcome.Good() {
		return c, outcome
	}
	return out, outcome
}

// mintedID is what a minted token is sealed for; no connection has such an id.
func mintedID(id string) string { return "minted/" + id }

func (m *minted) get(key mintKey) (mintedToken, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.tokens[key]
	return c, ok
}

func (m *minted) put(key mintKey, t mintedToken) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil {
		m.tokens = map[mintKey]mintedToken{}
	}
	if _, known := m.tokens[key]; !known && len(m.tokens) >= maxMinted {
		for other := range m.tokens { // any one: it costs one minting
			delete(m.tokens, other)
			break
		}
	}
	m.tokens[key] = t
}

// pauses keep a provider that does not answer, or an org's client that is not in order, from being asked at every call.
type pauses struct {
	mu    sync.Mutex
	until map[mintKey]pause
}

type pause struct {
	until time.Time
	Outcome
}

const (
	pauseTransient = 2 * time.Second
	pauseConfig    = 30 * time.Second
	maxPauses      = 10_000
)

func (p *pauses) outcome(org delegation.OrgID, id string, now time.Time) (Outcome, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.until[mintKey{org: org, id: id}]
	if !ok || !now.Before(known.until) {
		return Outcome{}, false
	}
	out := known.Outcome
	out.RetryAfter = known.until.Sub(now)
	return out, true
}

func (p *pauses) paused(org delegation.OrgID, id string, now time.Time) bool {
	_, yes := p.outcome(org, id, now)
	return yes
}

// note remembers an outcome that would be the same again at once.
func (p *pauses) note(org delegation.OrgID, id string, out Outcome, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := mintKey{org: org, id: id}
	delete(p.until, key)
	var length time.Duration
	switch out.Result {
	case ResultTransient:
		length = max(pauseTransient, min(out.RetryAfter, 10*time.Minute))
	case ResultOperatorConfig, ResultUncertain, ResultStepUp:
		length = pauseConfig
	default:
		return
	}
	if p.until == nil {
		p.until = map[mintKey]pause{}
	}
	if len(p.until) >= maxPauses {
		for other := range p.until {
			delete(p.until, other)
			break
		}
	}
	p.until[key] = pause{now.Add(length), out}
}
