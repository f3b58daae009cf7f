package exchange_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// cluster is a Kubernetes cluster whose service account agents/orchestrator is acme's orchestrator.
type cluster struct {
	w   *exchangetest.World
	key jose.Signer
}

const clusterURL = "https://kubernetes.test"

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{exchangetest.NewWorld(t), newSigner(t, "cluster-1", jose.RS256)}
	change(t, c.w, func(d *registry.Document, a *registry.Agent) {
		d.WorkloadIssuers = []registry.WorkloadIssuer{{Name: "cluster", URL: clusterURL, JWKS: jose.NewKeySet(c.key.Key()).JSON()}}
		a.Workloads = []registry.WorkloadRule{{Issuer: "cluster", Claims: map[string]string{
			"sub": "system:serviceaccount:agents:orchestrator", "/kubernetes.io/namespace": "agents",
		}}}
	})
	return c
}

func (c cluster) token(t *testing.T, key jose.Signer, typ string, change func(map[string]any)) string {
	t.Helper()
	now := c.w.Clock.Now()
	claims := map[string]any{
		"iss": clusterURL, "sub": "system:serviceaccount:agents:orchestrator", "aud": []string{exchangetest.Issuer},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "not for single use",
		"kubernetes.io": map[string]any{"namespace": "agents", "serviceaccount": map[string]any{"name": "orchestrator", "uid": "1"}},
	}
	if change != nil {
		change(claims)
	}
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	payload, err := jose.Encode(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := key.Sign(typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (c cluster) credential(token string) exchange.Credential {
	return exchange.Credential{ClientID: c.w.Orchestrator.ClientID, Assertion: token, AssertionType: exchange.ClientAssertionType}
}

// TestWorkloadFederation: a token of the platform is the agent's credential, as often as it is shown. CA6, JW3, JW4, JW5.
func TestWorkloadFederation(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	now := c.w.Clock.Now()
	set := func(name string, value any) string {
		return c.token(t, c.key, "JWT", func(m map[string]any) { m[name] = value })
	}
	again := set("x", "y")
	for name, one := range map[string]struct {
		token string
		want  exchange.Reason
	}{
		"the agent's own":                     {c.token(t, c.key, "JWT", nil), ""},
		"shown once":                          {again, ""},
		"shown twice":                         {again, ""},
		"without typ":                         {c.token(t, c.key, "", nil), ""},
		"JW5 typ at+jwt":                      {c.token(t, c.key, "at+jwt", nil), exchange.InvalidClient},
		"JW4 typ client-authentication+jwt":   {c.token(t, c.key, "client-authentication+jwt", nil), exchange.InvalidClient},
		"JW3 another issuer's key":            {c.token(t, c.w.IDP.Key, "JWT", nil), exchange.InvalidClient},
		"JW3 a new key with the issuer's kid": {c.token(t, newSigner(t, "cluster-1", jose.RS256), "JWT", nil), exchange.InvalidClient},
		"JW3 the agent's own key":             {c.token(t, c.w.Orchestrator.Key, "JWT", nil), exchange.InvalidClient},
		"iss that is not registered":          {set("iss", "https://other.test"), exchange.InvalidClient},
		"another service account":             {set("sub", "system:serviceaccount:agents:orchestrator2"), exchange.InvalidClient},
		"another namespace":                   {set("kubernetes.io", map[string]any{"namespace": "other"}), exchange.InvalidClient},
		"no namespace":                        {set("kubernetes.io", nil), exchange.InvalidClient},
		"a namespace that is no text":         {set("kubernetes.io", map[string]any{"namespace": []string{"agents"}}), exchange.InvalidClient},
		"aud of another":                      {set("aud", "https://kubernetes.default.svc"), exchange.InvalidClient},
		"aud with another beside ours":        {set("aud", []string{exchangetest.Issuer, "vault"}), exchange.InvalidClient},
		"no aud":                              {set("aud", nil), exchange.InvalidClient},
		"no exp":                              {set("exp", nil), exchange.InvalidClient},
		"expired":                             {set("exp", now.Unix()), exchange.InvalidClient},
		"good for more than a day":            {set("exp", now.Add(24*time.Hour+time.Minute).Unix()), exchange.InvalidClient},
		"good for more than a day, near its end": {c.token(t, c.key, "JWT", func(m map[string]any) {
			m["iat"] = now.Add(-24 * time.Hour).Unix()
		}), exchange.InvalidClient},
		"JW11 iat in the future": {set("iat", now.Add(time.Minute).Unix()), exchange.InvalidClient},
		"without iat":            {set("iat", nil), ""},
		"ends before it began": {c.token(t, c.key, "JWT", func(m map[string]any) {
			m["iat"], m["exp"] = now.Add(9*time.Second).Unix(), now.Add(5*time.Second).Unix()
		}), exchange.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, withCredential(t, c.w, c.credential(one.token)), one.want)
		})
	}
	t.Run("CA6 without client_id", func(t *testing.T) {
		t.Parallel()
		cred := c.credential(c.token(t, c.key, "JWT", nil))
		cred.ClientID = ""
		want(t, withCredential(t, c.w, cred), exchange.InvalidClient)
		cred.ClientID = c.w.Researcher.ClientID
		want(t, withCredential(t, c.w, cred), exchange.InvalidClient)
		cred.ClientID = c.w.Stranger.ClientID
		want(t, withCredential(t, c.w, cred), exchange.InvalidClient)
	})
}

// TestWorkloadByDiscovery: keys that are not registered are those that the issuer publishes, and are fetched by the rules for
// every fetch (JW13).
func TestWorkloadByDiscovery(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	const sub = "repo:acme/agents:ref:refs/heads/main"
	change(t, w, func(d *registry.Document, a *registry.Agent) {
		d.WorkloadIssuers = []registry.WorkloadIssuer{{Name: "ci", URL: w.IDP.URL, Audience: "obo", Algorithms: []string{"ES256"}}}
		a.Workloads = []registry.WorkloadRule{
			{Issuer: "ci", Claims: map[string]string{"sub": "repo:acme/agents:*", "ref": "refs/heads/release-*", "protected": "true"}},
			{Issuer: "ci", Claims: map[string]string{"sub": sub}},
		}
	})
	by := func(s *exchange.Service, key jose.Signer, change func(exchangetest.Claims)) exchange.Reason {
		token := w.IDP.SignedBy(t, key, sub, func(c exchangetest.Claims) {
			c["aud"] = "obo"
			if change != nil {
				change(c)
			}
		})
		cred := exchange.Credential{ClientID: w.Orchestrator.ClientID, Assertion: token}
		_, err := s.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
		return exchange.ReasonOf(err)
	}
	want(t, by(w.Service, w.IDP.Key, nil), "")
	want(t, by(w.Service, newSigner(t, "idp-1", jose.ES256), nil), exchange.InvalidClient)
	want(t, by(w.Service, newSigner(t, "idp-9", jose.ES256), nil), exchange.InvalidClient)
	want(t, by(w.Service, w.IDP.Key, func(c exchangetest.Claims) { c["aud"] = exchangetest.Audience }), exchange.InvalidClient) // CA9: a user's login
	release := func(ref string, protected any) func(exchangetest.Claims) {
		return func(c exchangetest.Claims) {
			c["sub"], c["ref"], c["protected"] = "repo:acme/agents:ref:"+ref, ref, protected
		}
	}
	want(t, by(w.Service, w.IDP.Key, release("refs/heads/release-7", true)), "")
	want(t, by(w.Service, w.IDP.Key, release("refs/heads/release-7", false)), exchange.InvalidClient)
	want(t, by(w.Service, w.IDP.Key, release("refs/heads/release-", true)), exchange.InvalidClient)
	want(t, by(w.Service, w.IDP.Key, release("refs/heads/main2", true)), exchange.InvalidClient)
	cfg := w.Config()
	cfg.HTTP = egress.NewClient(egress.Config{}) // JW13: the issuer is at a private address
	closed, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want(t, by(closed, w.IDP.Key, nil), exchange.DependencyUnavailable)
}

// TestWorkloadAsActorToken: WI6, the next agent is proven by what its platform says of it, if that is one agent.
func TestWorkloadAsActorToken(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	register := func(names ...string) {
		c.w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
			for i := range d.Agents {
				d.Agents[i].Workloads = nil
				for _, name := range names {
					if d.Agents[i].Name == name {
						d.Agents[i].Workloads = []registry.WorkloadRule{{Issuer: "cluster", Claims: map[string]string{"sub": "system:serviceaccount:agents:*"}}}
					}
				}
			}
		})
	}
	handOver := func(change func(map[string]any)) exchange.Request {
		r := exchangetest.Next(c.w.Token(t, c.w.Orchestrator, "github:read", nil), "github:read")
		r.ActorToken, r.ActorTokenType = c.token(t, c.key, "JWT", change), exchange.TypeJWT
		return r
	}
	register("courier")
	got := c.w.Exchange(t, c.w.Orchestrator, handOver(nil))
	if chain := c.w.Claims(t, got.AccessToken).Chain(); strings.Join(chain, " ") != "agent:acme/courier agent:acme/orchestrator" {
		t.Errorf("chain %q", chain)
	}
	want(t, reason(t, c.w, c.w.Orchestrator, handOver(func(m map[string]any) { m["sub"] = "system:serviceaccount:other:x" })), exchange.ActorTokenInvalid)
	want(t, reason(t, c.w, c.w.Orchestrator, handOver(func(m map[string]any) { m["aud"] = "vault" })), exchange.ActorTokenInvalid)
	want(t, reason(t, c.w, c.w.Orchestrator, handOver(func(m map[string]any) { m["iss"] = "https://other.test" })), exchange.ActorTokenInvalid)
	register("courier", "researcher")
	want(t, reason(t, c.w, c.w.Orchestrator, handOver(nil)), exchange.ActorTokenInvalid)
	register("retired")
	if got := reason(t, c.w, c.w.Orchestrator, handOver(nil)); got == "" {
		t.Error("a disabled agent acts")
	}
}

// TestWorkloadIsNoUser: JW4, CA9. Of an issuer of both workloads' tokens and users' assertions, what a workload authenticates with
// is no user's grant, also when the org gave both one audience.
func TestWorkloadIsNoUser(t *testing.T) {
	t.Parallel()
	for _, audience := range []string{exchangetest.Issuer, exchangetest.Issuer + "/token"} {
		t.Run("JW4 "+audience, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			const sub = "system:serviceaccount:agents:reporter"
			reporter(t, w, func(d *registry.Document, a *registry.Agent) {
				d.WorkloadIssuers = []registry.WorkloadIssuer{{Name: "cluster", URL: w.IDP.URL, Audience: audience}}
				a.Workloads = []registry.WorkloadRule{{Issuer: "cluster", Claims: map[string]string{"sub": sub}}}
			})
			token := w.IDP.Assertion(t, sub, func(c exchangetest.Claims) { c["aud"] = audience })
			cred := exchange.Credential{ClientID: w.Reporter.ClientID, Assertion: token, AssertionType: exchange.ClientAssertionType}
			want(t, withCredential(t, w, cred), "")
			want(t, reason(t, w, w.Reporter, exchangetest.Asserted(token, "github:read")), exchange.InvalidGrant)
		})
	}
}

// TestFAPIWorkload: FA1, FA6, under the FAPI profile a platform that signs with RS256 proves nothing, and its workload is told
// why; and no bearer of a platform's token authenticates, whatever it is signed with.
func TestFAPIWorkload(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	doc := orgDocument(t, c.w)
	doc.Profile = registry.ProfileFAPI
	force(t, c.w, doc)
	_, err := c.w.Service.Exchange(t.Context(), c.credential(c.token(t, c.key, "JWT", nil)), exchange.Request{})
	if e, ok := errors.AsType[*exchange.Error](err); !ok || e.Reason != exchange.InvalidClient || !strings.Contains(e.Description, "PS256") {
		t.Errorf("got %v", err)
	}
	signer := newSigner(t, "cluster-2", jose.ES256)
	doc.WorkloadIssuers[0].JWKS = jose.NewKeySet(signer.Key()).JSON()
	force(t, c.w, doc)
	_, err = c.w.Service.Exchange(t.Context(), c.credential(c.token(t, signer, "JWT", nil)), exchange.Request{})
	if e, ok := errors.AsType[*exchange.Error](err); !ok || e.Reason != exchange.InvalidClient || !strings.Contains(e.Description, "private_key_jwt") {
		t.Errorf("FA1: got %v", err)
	}
}
