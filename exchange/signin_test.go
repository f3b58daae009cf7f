package exchange_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// The audiences of logins and of workloads' tokens that are for signing in.
const (
	adminAudience  = "obo-admin"
	signInAudience = exchangetest.Issuer + "/sign-in"
	pipeline       = "system:serviceaccount:ci:deploy"
)

// administered is a world whose acme has administrators of each kind, and whose server has operators.
func administered(t *testing.T) (cluster, *exchange.Service) {
	t.Helper()
	c := newCluster(t)
	rule := registry.WorkloadRule{Issuer: "cluster", Claims: map[string]string{"sub": pipeline}}
	// The very rule of an agent: that both fit one workload must not make one's credential the other's.
	also := registry.WorkloadRule{Issuer: "cluster", Claims: map[string]string{"sub": "system:serviceaccount:agents:orchestrator"}}
	change(t, c.w, func(d *registry.Document, _ *registry.Agent) {
		d.Administrators = []registry.Administrator{
			{Role: policy.RoleAuditor, Issuer: "okta", Audience: adminAudience, Group: "staff"},
			{Role: policy.RoleOrgAdmin, Issuer: "okta", Audience: adminAudience, Subject: "ann"},
			{Role: policy.RolePolicyAuthor, Workload: &rule}, {Role: policy.RoleOrgAdmin, Workload: &also},
		}
	})
	cfg := c.w.Config()
	cfg.Operators = []exchange.Operator{
		{Name: "corp", URL: c.w.IDP.URL, Audience: "obo-operators", Subject: "root"},
		{Name: "corp", URL: c.w.IDP.URL, Audience: "obo-operators", Group: "sre", GroupsClaim: "groups"},
	}
	cfg.Operators[0].GroupsClaim = "groups"
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// login is an ID token for signing in.
func (c cluster) login(t *testing.T, user, audience string, change func(exchangetest.Claims)) string {
	t.Helper()
	return c.w.IDP.IDToken(t, user, func(m exchangetest.Claims) {
		m["aud"] = audience
		if change != nil {
			change(m)
		}
	})
}

// workload is a workload's token for signing in.
func (c cluster) workload(t *testing.T, sub string, change func(map[string]any)) string {
	t.Helper()
	return c.token(t, c.key, "JWT", func(m map[string]any) {
		m["sub"], m["aud"] = sub, signInAudience
		if change != nil {
			change(m)
		}
	})
}

// signing is a sign-in and what comes of it: without a role it is refused.
type signing struct {
	org           delegation.OrgID
	token         string
	role, subject string
	life          time.Duration
}

// TestSignIn: who may sign in, as whom, and until when. Whoever may not hears one and the same (threat: tenant mix-up).
func TestSignIn(t *testing.T) {
	t.Parallel()
	c, s := administered(t)
	now := c.w.Clock.Now()
	with := func(name string, value any) func(map[string]any) { return func(m map[string]any) { m[name] = value } }
	claim := func(name string, value any) func(exchangetest.Claims) {
		return func(m exchangetest.Claims) { m[name] = value }
	}
	const mix = "workload:acme/cluster|" + pipeline
	yes := func(org delegation.OrgID, token, role, subject string, life ...time.Duration) signing {
		return signing{org, token, role, subject, append(life, 0)[0]}
	}
	no := func(org delegation.OrgID, token string) signing { return signing{org: org, token: token} }
	for name, one := range map[string]signing{
		"a person of a group": yes("acme", c.login(t, "bob", adminAudience, nil), policy.RoleAuditor, "user:acme/okta|bob"),
		"the most of several": yes("acme", c.login(t, "ann", adminAudience, nil), policy.RoleOrgAdmin, "user:acme/okta|ann"),
		"no longer than a login": yes("acme", c.login(t, "bob", adminAudience, claim("exp", now.Add(time.Minute).Unix())), policy.RoleAuditor,
			"user:acme/okta|bob", time.Minute),
		"a person of no group":                no("acme", c.login(t, "bob", adminAudience, claim("groups", []string{"sales"}))),
		"JW10 the audience of agents' logins": no("acme", c.login(t, "bob", exchangetest.Audience, nil)),
		"JW10 the operators' audience":        no("acme", c.login(t, "bob", "obo-operators", nil)),
		"another tenant":                      no("acme", c.login(t, "bob", adminAudience, claim("tenant", "globex"))),
		"another org":                         no("globex", c.login(t, "bob", adminAudience, nil)),
		"an org that is none":                 no("nobody", c.login(t, "bob", adminAudience, nil)),
		"JW3 another's key":                   no("acme", c.w.IDP.SignedBy(t, c.key, "bob", claim("aud", adminAudience))),
		"expired":                             no("acme", c.login(t, "bob", adminAudience, claim("exp", now.Add(-time.Second).Unix()))),
		"JG5 a login that is bound":           no("acme", c.login(t, "bob", adminAudience, claim("cnf", map[string]any{"jkt": "x"}))),
		"TX6 an access token":                 no("acme", c.login(t, "bob", adminAudience, claim("scope", "openid"))),
		"rubbish":                             no("acme", "abc"),

		"a workload": yes("acme", c.workload(t, pipeline, nil), policy.RolePolicyAuthor, mix),
		"no longer than its token": yes("acme", c.workload(t, pipeline, with("exp", now.Add(time.Minute).Unix())), policy.RolePolicyAuthor,
			mix, time.Minute),
		"a workload without iat":     yes("acme", c.workload(t, pipeline, with("iat", nil)), policy.RolePolicyAuthor, mix),
		"a workload of no rule":      no("acme", c.workload(t, "system:serviceaccount:ci:other", nil)),
		"a workload of another org":  no("globex", c.workload(t, pipeline, nil)),
		"a workload to operate":      no(store.PlatformOrg, c.workload(t, pipeline, nil)),
		"JW10 an agent's credential": no("acme", c.token(t, c.key, "JWT", nil)),
		"JW10 the same rule, its own audience": yes("acme", c.workload(t, "system:serviceaccount:agents:orchestrator", nil), policy.RoleOrgAdmin,
			"workload:acme/cluster|system:serviceaccount:agents:orchestrator"),
		"JW10 another audience beside": no("acme", c.workload(t, pipeline, with("aud", []string{signInAudience, exchangetest.Issuer}))),
		"JW3 a workload, another's key": no("acme", c.token(t, newSigner(t, "cluster-1", jose.RS256), "JWT", func(m map[string]any) {
			m["sub"], m["aud"] = pipeline, signInAudience
		})),
		"JW5 a workload's typ": no("acme", c.token(t, c.key, "at+jwt", func(m map[string]any) { m["sub"], m["aud"] = pipeline, signInAudience })),
		"a workload, expired":  no("acme", c.workload(t, pipeline, with("exp", now.Unix()))),

		"an operator": yes(store.PlatformOrg, c.login(t, "root", "obo-operators", nil), policy.RoleOperator, "operator:corp|root"),
		"an operator of a group": yes(store.PlatformOrg, c.login(t, "eve", "obo-operators", claim("groups", []string{"sre"})), policy.RoleOperator,
			"operator:corp|eve"),
		"no operator":                           no(store.PlatformOrg, c.login(t, "eve", "obo-operators", nil)),
		"JW10 an org's administrator":           no(store.PlatformOrg, c.login(t, "root", adminAudience, nil)),
		"JW3 an operator, another's key":        no(store.PlatformOrg, c.w.IDP.SignedBy(t, c.key, "root", claim("aud", "obo-operators"))),
		"JG5 an operator's login that is bound": no(store.PlatformOrg, c.login(t, "root", "obo-operators", claim("cnf", map[string]any{"jkt": "x"}))),
		"an operator, expired":                  no(store.PlatformOrg, c.login(t, "root", "obo-operators", claim("exp", now.Unix()))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := s.SignIn(t.Context(), one.org, one.token)
			if one.role == "" {
				var refused *exchange.Error
				if !errors.As(err, &refused) || refused.Reason != exchange.InvalidClient || refused.Description != nobody(t, s) || got.Token != "" {
					t.Errorf("%v, %+v", err, got)
				}
				return
			}
			if err != nil || got.Role != one.role || got.Subject != one.subject {
				t.Fatalf("%v, %+v", err, got)
			}
			a, err := c.w.Verifier.VerifyAdministrator(t.Context(), got.Token.Reveal())
			if life := a.Expiry.Sub(now); err != nil || a.Role != one.role || a.OrgID != one.org || one.life > 0 && life != one.life || life > 15*time.Minute {
				t.Errorf("%v, %+v", err, a)
			}
		})
	}
}

// nobody is what somebody hears who may not sign in.
func nobody(t *testing.T, s *exchange.Service) string {
	t.Helper()
	_, err := s.SignIn(t.Context(), "nobody", "x")
	var refused *exchange.Error
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	return refused.Description
}

// TestSignInTokenIsNoAgentsCredential: JW10. The other way round: a workload's token that is for signing in authenticates no agent.
func TestSignInTokenIsNoAgentsCredential(t *testing.T) {
	t.Parallel()
	c, _ := administered(t)
	want(t, withCredential(t, c.w, c.credential(c.workload(t, "system:serviceaccount:agents:orchestrator", nil))), exchange.InvalidClient)
}

// TestAudienceOfBoth: JW10. An org that gives agents' tokens the audience for signing in has no administrating workloads.
func TestAudienceOfBoth(t *testing.T) {
	t.Parallel()
	c, s := administered(t)
	change(t, c.w, func(d *registry.Document, _ *registry.Agent) { d.WorkloadIssuers[0].Audience = signInAudience })
	if _, err := s.SignIn(t.Context(), "acme", c.workload(t, pipeline, nil)); exchange.ReasonOf(err) != exchange.InvalidClient {
		t.Errorf("got %v", err)
	}
}

// TestRevokedSignIn: after a revocation of the person, of the workload, of the operator or of the org the token is refused, and so is
// every login from before. A newer login is good, and nobody else's ends.
func TestRevokedSignIn(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		org      delegation.OrgID
		kind     revocation.Kind
		id       string
		login    func(*testing.T, cluster) string
		stranger func(*testing.T, cluster) string
	}{
		"a person": {"acme", revocation.Subject, "user:acme/okta|bob",
			func(t *testing.T, c cluster) string { return c.login(t, "bob", adminAudience, nil) },
			func(t *testing.T, c cluster) string { return c.login(t, "ann", adminAudience, nil) }},
		"a workload": {"acme", revocation.Subject, "workload:acme/cluster|" + pipeline,
			func(t *testing.T, c cluster) string { return c.workload(t, pipeline, nil) },
			func(t *testing.T, c cluster) string { return c.login(t, "ann", adminAudience, nil) }},
		"an operator": {store.PlatformOrg, revocation.Subject, "operator:corp|root",
			func(t *testing.T, c cluster) string { return c.login(t, "root", "obo-operators", nil) },
			func(t *testing.T, c cluster) string {
				return c.login(t, "eve", "obo-operators", func(m exchangetest.Claims) { m["groups"] = "sre" })
			}},
		"the org": {"acme", revocation.Org, "acme",
			func(t *testing.T, c cluster) string { return c.login(t, "bob", adminAudience, nil) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := administered(t)
			verify := func(token string) error {
				_, err := c.w.Verifier.VerifyAdministrator(t.Context(), token)
				return err
			}
			login := one.login(t, c)
			got, err := s.SignIn(t.Context(), one.org, login)
			if err != nil || verify(got.Token.Reveal()) != nil {
				t.Fatal(err, verify(got.Token.Reveal()))
			}
			var other exchange.SignedIn
			if one.stranger != nil {
				if other, err = s.SignIn(t.Context(), one.org, one.stranger(t, c)); err != nil {
					t.Fatal(err)
				}
			}
			c.w.Revoke(t, one.org, one.kind, one.id)
			if err := verify(got.Token.Reveal()); !errors.Is(err, delegation.ErrRevoked) {
				t.Errorf("the token: %v", err)
			}
			if _, err := s.SignIn(t.Context(), one.org, login); exchange.ReasonOf(err) != exchange.InvalidClient {
				t.Errorf("the login from before: %v", err)
			}
			if one.stranger != nil && verify(other.Token.Reveal()) != nil {
				t.Error("somebody else's token ended")
			}
			c.w.Advance(t, 5*time.Second)
			if _, err := s.SignIn(t.Context(), one.org, one.login(t, c)); err != nil {
				t.Errorf("a newer login: %v", err)
			}
		})
	}
}

// TestSignInRecord: the trail says who signed in, as what, and how the issuer knows who that is; what is then done with the token
// has its id.
func TestSignInRecord(t *testing.T) {
	t.Parallel()
	c, s := administered(t)
	auth := c.w.Clock.Now().Add(-time.Minute)
	for name, one := range map[string]struct {
		org   delegation.OrgID
		token string
		want  audit.Authentication
	}{
		"a person": {"acme", c.login(t, "bob", adminAudience, nil),
			audit.Authentication{Issuer: c.w.IDP.URL, ACR: "urn:test:mfa", AMR: []string{"pwd", "otp"}, AuthTime: auth}},
		"a workload": {"acme", c.workload(t, pipeline, nil), audit.Authentication{Issuer: clusterURL}},
		"an operator": {store.PlatformOrg, c.login(t, "root", "obo-operators", nil),
			audit.Authentication{Issuer: c.w.IDP.URL, ACR: "urn:test:mfa", AMR: []string{"pwd", "otp"}, AuthTime: auth}},
	} {
		got, err := s.SignIn(t.Context(), one.org, one.token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all := c.w.Records(t, one.org)
		r := all[len(all)-1]
		if r.Kind != audit.KindAdmin || r.Administrator != got.Subject || r.Role != got.Role || r.TokenID != got.ID || r.Transaction != got.ID ||
			r.Authentication == nil || !reflect.DeepEqual(*r.Authentication, one.want) {
			t.Errorf("%s: %+v, authenticated %+v", name, r, r.Authentication)
		}
	}
}

// TestNoSignInWithoutARecord: the fault table. No token without a durable record, and nothing of a token that was not signed.
func TestNoSignInWithoutARecord(t *testing.T) {
	t.Parallel()
	c, _ := administered(t)
	for name, spoil := range map[string]func(*exchange.Config){
		"no trail":             func(cfg *exchange.Config) { cfg.Audit = deaf{} },
		"no revocations":       func(cfg *exchange.Config) { cfg.Revocations = revocation.NewSet(0) },
		"the provider is away": func(*exchange.Config) { c.w.IDP.Down.Store(true) },
	} {
		cfg := c.w.Config()
		spoil(&cfg)
		s, err := exchange.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.SignIn(t.Context(), "acme", c.login(t, "bob", adminAudience, nil))
		if exchange.ReasonOf(err) != exchange.DependencyUnavailable || got.Token != "" {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
		c.w.IDP.Down.Store(false)
	}
}

type deaf struct{}

func (deaf) Record(context.Context, audit.Record) error { return errors.New("the disk is full") }

// TestSignOut: RV1, RV5. A token is given up by whoever holds it; one that is good for nothing is no error, and what cannot be put
// into force is.
func TestSignOut(t *testing.T) {
	t.Parallel()
	c, s := administered(t)
	got, err := s.SignIn(t.Context(), "acme", c.login(t, "bob", adminAudience, nil))
	if err != nil {
		t.Fatal(err)
	}
	access := c.w.Exchange(t, c.w.Orchestrator, exchangetest.FirstHop(c.w.IDP.IDToken(t, "alice", nil), "github:read")).AccessToken
	for name, one := range map[string]struct {
		token string
		to    exchange.Revoker
		want  exchange.Reason
	}{
		"rubbish":                {"abc", revoker{errors.New("must not be asked")}, ""},
		"JW4 an access token":    {access, revoker{errors.New("must not be asked")}, ""},
		"in force":               {got.Token.Reveal(), revoker{}, ""},
		"not put into force":     {got.Token.Reveal(), revoker{errors.New("the store is away")}, exchange.DependencyUnavailable},
		"nobody puts into force": {got.Token.Reveal(), nil, exchange.UnsupportedTokenType},
	} {
		cfg := c.w.Config()
		cfg.Revoker = one.to
		out, err := exchange.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.SignOut(t.Context(), one.token); exchange.ReasonOf(err) != one.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
