package executor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Accounts connects accounts of users. connection.Connector does.
type Accounts interface {
	Authorize(ctx context.Context, org delegation.OrgID, w connection.Wish) (connection.Authorized, error)
	Wait(ctx context.Context, org delegation.OrgID, subject, id string, most time.Duration) (connection.Authorized, error)
}

// Connect is the agents' way to ask a user to connect an account. It is safe for many goroutines.
type Connect struct {
	service  *Service
	accounts Accounts
}

// NewConnect makes a Connect.
func NewConnect(s *Service, a Accounts) (*Connect, error) {
	if s == nil || a == nil {
		return nil, errors.New("executor: Connect needs a Service and Accounts")
	}
	return &Connect{s, a}, nil
}

// Ask says for what an account is wanted: a tool, or scopes of a provider.
type Ask struct {
	Tool, Provider string
	Scopes         []string
	Connection     string
}

// Authorize asks for an account of the token's subject. The token must have every scope that is asked for: an agent cannot ask its
// user for more than it was given.
func (c *Connect) Authorize(ctx context.Context, p Presented, a Ask) (out connection.Authorized, nonce string, err error) {
	v, nonce, err := c.service.Admit(ctx, p)
	if err != nil {
		return connection.Authorized{}, "", err
	}
	w := connection.Wish{Subject: v.Subject(), Agent: v.Actor(), Provider: a.Provider, Connection: a.Connection, Scopes: a.Scopes}
	switch {
	case (a.Tool == "") == (a.Provider == ""):
		return out, nonce, invalid("tool", "name a tool or a provider, one of them")
	case a.Tool != "":
		found := &call{verified: v}
		if err := c.service.findTool(ctx, found, a.Tool); err != nil {
			return out, nonce, err
		}
		w.Provider, w.Scopes = found.tool.Provider().Name(), found.tool.Scopes()
	case len(a.Scopes) == 0:
		return out, nonce, invalid("scopes", "scopes must say what the account is for")
	}
	for _, s := range w.Scopes {
		if !v.Scope().Contains(s) {
			return out, nonce, &Error{Reason: InsufficientScope, Scope: s, Description: fmt.Sprintf("the token lacks %q", s)}
		}
	}
	out, err = c.accounts.Authorize(ctx, v.OrgID(), w)
	return out, nonce, connectError(err)
}

// Await waits for an authorization of the token's subject.
func (c *Connect) Await(ctx context.Context, p Presented, id string, most time.Duration) (out connection.Authorized, nonce string, err error) {
	v, nonce, err := c.service.Admit(ctx, p)
	if err != nil {
		return connection.Authorized{}, "", err
	}
	out, err = c.accounts.Wait(ctx, v.OrgID(), v.Subject(), id, most)
	return out, nonce, connectError(err)
}

// List are the accounts at a provider that the token's subject may use: its own and the org's.
func (c *Connect) List(ctx context.Context, p Presented, provider string) (conns []store.Connection, nonce string, err error) {
	v, nonce, err := c.service.Admit(ctx, p)
	if err != nil {
		return nil, "", err
	}
	tools, ok, err := c.service.Providers.Provider(ctx, v.OrgID(), provider)
	if err != nil {
		return nil, nonce, unavailable("the org's providers cannot be read now", err)
	}
	if !ok {
		return nil, nonce, &Error{Reason: NotFound, Description: "the org has no such provider"}
	}
	covered := false
	for _, t := range tools.Tools() {
		covered = covered || scopeError(t, v.Scope()) == nil
	}
	if !covered {
		return nil, nonce, &Error{Reason: InsufficientScope, Description: "the token covers no tool of the provider"}
	}
	conns, err = c.service.Connections(v.OrgID()).ConnectionsFor(ctx, provider, v.Subject())
	if err != nil {
		return nil, nonce, unavailable("the connections cannot be read now", err)
	}
	return conns, nonce, nil
}

// AuthorizeConnection asks a user to connect an account.
func (a Session) AuthorizeConnection(ctx context.Context, org string, w connection.Wish) (connection.Authorized, error) {
	id, err := orgID(org)
	if err != nil {
		return connection.Authorized{}, err
	}
	if len(w.Scopes) == 0 {
		p, _, err := a.Providers.Provider(ctx, id, w.Provider)
		if err != nil {
			return connection.Authorized{}, adminError(err)
		}
		w.Scopes = p.Scopes()
	}
	var out connection.Authorized
	c := change{org: id, subject: w.Subject, connection: w.Connection, what: "ask a user to connect an account at " + printable(w.Provider)}
	err = a.change(ctx, c, func() (err error) {
		out, err = a.Accounts.Authorize(ctx, id, w)
		return connectError(err)
	})
	return out, err
}

// AwaitConnection waits for an authorization.
func (a *Admin) AwaitConnection(ctx context.Context, org, authorization string, most time.Duration) (connection.Authorized, error) {
	id, err := orgID(org)
	if err != nil {
		return connection.Authorized{}, err
	}
	out, err := a.Accounts.Wait(ctx, id, "", authorization, most)
	return out, connectError(err)
}

// connectError turns what connecting answers into an *Error.
func connectError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, connection.ErrInvalid):
		return &Error{Reason: InvalidRequest, Description: strings.TrimPrefix(err.Error(), connection.ErrInvalid.Error()+": "), cause: err}
	case errors.Is(err, connection.ErrNoClient):
		return &Error{Reason: NotFound, Description: strings.TrimPrefix(err.Error(), "connection: "), cause: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Reason: NotFound, Description: "there is no such authorization", cause: err}
	case errors.Is(err, store.ErrConflict):
		return &Error{Reason: Conflict, Description: "it was changed meanwhile; try again", cause: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return unavailable("the store cannot be reached now", err)
}
