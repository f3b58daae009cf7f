package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/vault"
)

// office is a process with all that connects accounts.
type office struct {
	*process
	connector *connection.Connector
	links     *connection.Links
	clients   *connection.Clients
	rotator   *vault.Rotator
	trail     *trail
}

func (w *world) office(t *testing.T, c *cloud, logs slog.Handler) *office {
	t.Helper()
	o := &office{process: w.process(t, nil, c.Client().Transport), trail: &trail{}}
	var err error
	if o.links, err = connection.NewLinks(connection.LinksConfig{
		Org: func(id delegation.OrgID) connection.Store { return o.org(id) }, Providers: o.catalog, Vault: o.vault, Now: w.clock.now,
	}); err != nil {
		t.Fatal(err)
	}
	if o.connector, err = connection.NewConnector(connection.ConnectorConfig{
		Org: func(id delegation.OrgID) connection.ConnectorStore { return o.org(id) }, Providers: o.catalog, Links: o.links,
		Vault: o.vault, Keeper: o.keeper,
		Identify: c, HTTP: c.Client(), Origin: "http://127.0.0.1", Audit: o.trail, Now: w.clock.now, Log: slog.New(logs),
	}); err != nil {
		t.Fatal(err)
	}
	if o.clients, err = connection.NewClients(connection.ClientsConfig{
		Org: func(id delegation.OrgID) connection.ClientStore { return o.org(id) }, Providers: o.catalog, Vault: o.vault, Now: w.clock.now,
	}); err != nil {
		t.Fatal(err)
	}
	if o.rotator, err = vault.NewRotator(o.vault, func(id delegation.OrgID) vault.RotateStore { return o.org(id) }); err != nil {
		t.Fatal(err)
	}
	return o
}

// open gives an org the cloud's records and clients.
func (o *office) open(t *testing.T, org delegation.OrgID, c *cloud) {
	t.Helper()
	if err := o.org(org).PutProviders(t.Context(), nil, c.records()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notes", "issuer/okta"} {
		if err := o.register(t.Context(), org, c, name); err != nil {
			t.Fatal(err)
		}
	}
}

// register gives an org's client another secret.
func (o *office) register(ctx context.Context, org delegation.OrgID, c *cloud, name string) error {
	c.mu.Lock()
	c.n++
	secret := fmt.Sprintf("canary-secret-%05d", c.n)
	c.mu.Unlock()
	r := connection.Registration{Name: name, ClientID: "client-1", Secret: []byte(c.owns(org, secret))}
	if name != "notes" {
		r.Settings = map[string]string{"issuer": c.URL}
	}
	proposal, err := o.clients.Propose(ctx, org, r)
	if err != nil {
		return err
	}
	return o.clients.Put(ctx, org, proposal)
}

// visit is a browser at an authorization.
type visit struct {
	org        delegation.OrgID
	user, id   string
	cookie     string
	connection string
}

// signIn takes a browser through the sign-in.
func (o *office) signIn(ctx context.Context, c *cloud, v *visit) (connection.Answer, error) {
	to, cookie, err := o.connector.BeginSignIn(ctx, v.org, v.id)
	if err != nil {
		return connection.Answer{}, err
	}
	v.cookie = cookie
	answer := c.browser(to, v.org, v.user)
	_, _, err = o.connector.Finish(ctx, answer, cookie)
	return answer, err
}

// grant takes a browser that has signed in through the provider's page.
func (o *office) grant(ctx context.Context, c *cloud, v *visit) (connection.Answer, error) {
	to, err := o.connector.BeginGrant(ctx, v.org, v.id, v.cookie)
	if err != nil || to == "" {
		return connection.Answer{}, err
	}
	answer := c.browser(to, v.org, v.user)
	_, _, err = o.connector.Finish(ctx, answer, v.cookie)
	return answer, err
}

// begin makes an authorization of a user's.
func (o *office) begin(t *testing.T, org delegation.OrgID, w connection.Wish) *visit {
	t.Helper()
	user := w.Subject
	w.Subject, w.Agent = subject(org, user), "agent:"+string(org)+"/researcher"
	a, err := o.connector.Authorize(t.Context(), org, w)
	if err != nil || a.Status != connection.StatusPending || !strings.HasSuffix(a.URL, "/connect/"+string(org)+"."+a.ID) {
		t.Fatalf("%+v %v", a, err)
	}
	return &visit{org: org, user: user, id: a.ID, connection: a.Connection}
}

// connected is a user whose account is connected.
func (o *office) connected(t *testing.T, c *cloud, org delegation.OrgID, user string) *visit {
	t.Helper()
	v := o.begin(t, org, connection.Wish{Subject: user, Provider: "notes", Scopes: []string{"notes:write"}})
	if _, err := o.signIn(t.Context(), c, v); err != nil {
		t.Fatal(err)
	}
	if _, err := o.grant(t.Context(), c, v); err != nil {
		t.Fatal(err)
	}
	if a, err := o.connector.Wait(t.Context(), org, subject(org, user), v.id, 0); err != nil || a.Status != connection.StatusActive {
		t.Fatalf("%+v %v", a, err)
	}
	return v
}

// status waits for an authorization that is final already, or reports pending.
func (o *office) status(t *testing.T, v *visit) connection.Authorized {
	t.Helper()
	a, err := o.connector.Wait(t.Context(), v.org, subject(v.org, v.user), v.id, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// answered begins a sign-in and changes its answer on the way back.
func (o *office) answered(t *testing.T, c *cloud, v *visit, change func(*connection.Answer)) error {
	t.Helper()
	to, cookie, err := o.connector.BeginSignIn(t.Context(), v.org, v.id)
	if err != nil {
		t.Fatal(err)
	}
	v.cookie = cookie
	answer := c.browser(to, v.org, v.user)
	change(&answer)
	_, _, err = o.connector.Finish(t.Context(), answer, v.cookie)
	return err
}

// granted signs in, goes to the provider, and changes its answer on the way back.
func (o *office) granted(t *testing.T, c *cloud, v *visit, change func(*connection.Answer)) error {
	t.Helper()
	if _, err := o.signIn(t.Context(), c, v); err != nil {
		t.Fatal(err)
	}
	to, err := o.connector.BeginGrant(t.Context(), v.org, v.id, v.cookie)
	if err != nil {
		t.Fatal(err)
	}
	answer := c.browser(to, v.org, v.user)
	change(&answer)
	_, _, err = o.connector.Finish(t.Context(), answer, v.cookie)
	return err
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got %v, want %v", err, target)
	}
}

func (o *office) ends(t *testing.T, v *visit, status, reason string) {
	t.Helper()
	if a := o.status(t, v); a.Status != status || !strings.Contains(a.Reason, reason) || a.URL != "" {
		t.Errorf("ended as %s %q, want %s %q", a.Status, a.Reason, status, reason)
	}
}
