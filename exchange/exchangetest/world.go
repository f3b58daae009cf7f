// Package exchangetest is a small ready-made world: two orgs, their agents, an identity provider, and a real
// exchange.Service over SQLite; and the table of logical cases that every door must answer alike (GR9).
package exchangetest

import (
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/jose"
)

// Clock is a clock that a test sets. It starts at Start and stands still.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves it.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Agent is a registered agent with what it authenticates with.
type Agent struct {
	Name     string // researcher
	ID       string // agent:acme/researcher
	ClientID string // acme.researcher
	Secret   string
	Key      jose.Signer
}

// World is two orgs on one server.
type World struct {
	Clock   *Clock
	Service *exchange.Service
	Issuer  string // ours

	Orchestrator, Researcher Agent // of org acme
	Stranger                 Agent // of org globex
}

// NewWorld starts a world with a clock that stands still until a test moves it.
func NewWorld(t testing.TB) *World { return &World{} }

// Credential is the agent's client_secret credential.
func (a Agent) Credential() exchange.Credential { return exchange.Credential{} }

// Case is one logical request, to be sent through any door.
type Case struct {
	Name  string // begins with the rule or threat that it guards
	Build func(t testing.TB, w *World) (exchange.Credential, exchange.Request)
	Want  exchange.Reason                                   // "" for success
	Field string                                            // of the refusal, when Want is not ""
	Check func(t testing.TB, w *World, r exchange.Response) // of a success; may be nil
}

// Cases is the table. Each case needs a World of its own or shares one: they do not disturb each other.
func Cases() []Case { return nil }
