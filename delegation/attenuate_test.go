package delegation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// jkt is the thumbprint of RFC 7638 §3.1.
const jkt = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

// x5t is the thumbprint of a certificate. That of RFC 8705 §3.1 has stray bits at its end, so no certificate has it (JW8).
const x5t = "HTvuSruoZEUe0adtIUYbrnTvXy-ErxrDy-QE2cOFVLI"

// newIssuer is an issuer at noon.
func newIssuer(t testing.TB) *delegationtest.Issuer {
	t.Helper()
	i := delegationtest.NewIssuer(t)
	i.Now = func() time.Time { return noon }
	return i
}

func rootGrant(t testing.TB) delegation.Grant {
	t.Helper()
	return delegation.Grant{
		Issuer: delegationtest.IssuerURL, ClientID: "acme.orchestrator", Org: "acme", Actor: "agent:acme/orchestrator",
		Audience: delegationtest.Audience, Scope: scopes(t, "read write"), ID: "root", Transaction: "txn", Now: noon,
		Life: 5 * time.Minute,
	}
}

func childGrant(t testing.TB) delegation.Grant {
	t.Helper()
	return delegation.Grant{
		Issuer: delegationtest.IssuerURL, ClientID: "acme.orchestrator", Org: "acme", Actor: "agent:acme/researcher",
		Audience: "https://other.test", Scope: scopes(t, "read"), ID: "child", Now: noon.Add(time.Minute), Life: 5 * time.Minute,
	}
}

func alice() delegation.Subject {
	return delegation.Subject{
		ID: "user:acme/okta|alice", ACR: "urn:mfa", AMR: []string{"pwd", "otp"}, AuthTime: noon.Add(-time.Hour),
		SessionID: "sid-1", Groups: []string{"engineering", "Übung"}, Expiry: noon.Add(time.Hour),
	}
}

// root is a verified first token.
func root(t testing.TB, i *delegationtest.Issuer, g delegation.Grant) delegation.Verified {
	t.Helper()
	u, err := delegation.Root(alice(), g)
	if err != nil {
		t.Fatal(err)
	}
	v, err := i.Verifier(t, "").Verify(context.Background(), i.Mint(t, u))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRoot: a first token says all of DESIGN §4 and nothing else.
func TestRoot(t *testing.T) {
	t.Parallel()
	g := rootGrant(t)
	g.MayAct = "agent:acme/researcher"
	u, err := delegation.Root(alice(), g)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"iss":"https://sts.test","aud":"https://service.test","sub":"user:acme/okta|alice",
		"client_id":"acme.orchestrator","org_id":"acme","scope":"read write","iat":1795348800,"exp":1795349100,"jti":"root","txn":"txn",
		"act":{"iss":"https://sts.test","sub":"agent:acme/orchestrator"},
		"may_act":{"iss":"https://sts.test","sub":"agent:acme/researcher"},
		"acr":"urn:mfa","amr":["pwd","otp"],"auth_time":1795345200,"sid":"sid-1","groups":["engineering","Übung"]}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDelegate: a child is its parent with one more actor and less of everything else.
func TestDelegate(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	parent := root(t, i, rootGrant(t))
	u, err := parent.Delegate(childGrant(t))
	if err != nil {
		t.Fatal(err)
	}
	want := parent.Claims()
	want.Audience, want.Scope, want.ID = "https://other.test", scopes(t, "read"), "child"
	want.IssuedAt = noon.Add(time.Minute)
	want.Expiry = noon.Add(5 * time.Minute) // the parent's, not a minute later
	want.Lineage = []string{"root"}
	want.Actor = delegationtest.Chain("acme", "researcher", "orchestrator")
	if diff := cmp.Diff(want, u.Claims(), cmp.Comparer(delegation.Scopes.Equal)); diff != "" {
		t.Error(diff)
	}
	// A continuation: the same actor keeps its chain, and the lineage grows all the same (ACT8).
	g := childGrant(t)
	g.Actor = "agent:acme/orchestrator"
	if u, err = parent.Delegate(g); err != nil {
		t.Fatal(err)
	}
	want.Actor = delegationtest.Chain("acme", "orchestrator")
	if diff := cmp.Diff(want, u.Claims(), cmp.Comparer(delegation.Scopes.Equal)); diff != "" {
		t.Error(diff)
	}
}

// TestDelegateKeepsActVerbatim (ACT3, ACT7): members that we do not know stay in the chain, byte for byte.
func TestDelegateKeepsActVerbatim(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	parent := i.Verified(t, func(c *delegation.Claims) {
		c.Actor.Other = []byte(`{"model":"m-1","n":1.50,"exp":1,"e":"\u00e9"}`)
		c.Actor.Act.Other = []byte(`{"deep":{"x":[null,true]}}`)
	})
	g := childGrant(t)
	g.Actor, g.Scope, g.Now = "agent:acme/writer", delegation.Scopes{}, noon
	u, err := parent.Delegate(g)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	if inner := `"act":{"iss":"https://sts.test","sub":"agent:acme/researcher","act":{"iss":"https://sts.test",` +
		`"sub":"agent:acme/orchestrator","deep":{"x":[null,true]}},"model":"m-1","n":1.50,"exp":1,"e":"\u00e9"}`; !strings.Contains(string(payload), inner) {
		t.Errorf("%s\ndoes not hold\n%s", payload, inner)
	}
}

// TestRootLaw: what Root refuses, each with its rule.
func TestRootLaw(t *testing.T) {
	t.Parallel()
	many := func(n int, s string) []string { return slices.Repeat([]string{s}, n) }
	for name, c := range map[string]struct {
		change func(*delegation.Subject, *delegation.Grant)
		rule   string
	}{
		"user of another org (TX24)":    {func(s *delegation.Subject, _ *delegation.Grant) { s.ID = "user:globex/okta|alice" }, "org"},
		"client of another org":         {func(_ *delegation.Subject, g *delegation.Grant) { g.ClientID = "globex.orchestrator" }, "org"},
		"actor of another org":          {func(_ *delegation.Subject, g *delegation.Grant) { g.Actor = "agent:globex/orchestrator" }, "org"},
		"may_act of another org":        {func(_ *delegation.Subject, g *delegation.Grant) { g.MayAct = "agent:globex/x" }, "org"},
		"agent as subject (D1)":         {func(s *delegation.Subject, _ *delegation.Grant) { s.ID = "agent:acme/researcher" }, "sub"},
		"service of another org (TX24)": {func(s *delegation.Subject, _ *delegation.Grant) { s.ID = "service:globex/reporting" }, "org"},
		"service out of form (AT3)":     {func(s *delegation.Subject, _ *delegation.Grant) { s.ID = "service:acme" }, "sub"},
		"service as actor":              {func(_ *delegation.Subject, g *delegation.Grant) { g.Actor = "service:acme/reporting" }, "act"},
		"service as may_act":            {func(_ *delegation.Subject, g *delegation.Grant) { g.MayAct = "service:acme/reporting" }, "may_act"},
		"no subject":                    {func(s *delegation.Subject, _ *delegation.Grant) { s.ID = "" }, "sub"},
		"user as actor (D1)":            {func(_ *delegation.Subject, g *delegation.Grant) { g.Actor = "user:acme/okta|alice" }, "act"},
		"no actor (TX18)":               {func(_ *delegation.Subject, g *delegation.Grant) { g.Actor = "" }, "act"},
		"user as may_act":               {func(_ *delegation.Subject, g *delegation.Grant) { g.MayAct = "user:acme/okta|x" }, "may_act"},
		"no client":                     {func(_ *delegation.Subject, g *delegation.Grant) { g.ClientID = "" }, "client_id"},
		"client out of form":            {func(_ *delegation.Subject, g *delegation.Grant) { g.ClientID = "agent:acme/x" }, "client_id"},
		"no org":                        {func(_ *delegation.Subject, g *delegation.Grant) { g.Org = "" }, "org_id"},
		"platform org":                  {func(_ *delegation.Subject, g *delegation.Grant) { g.Org = "_platform" }, "org_id"},
		"no issuer":                     {func(_ *delegation.Subject, g *delegation.Grant) { g.Issuer = "" }, "iss"},
		"no audience (AT4)":             {func(_ *delegation.Subject, g *delegation.Grant) { g.Audience = "" }, "audience"},
		"two audiences":                 {func(_ *delegation.Subject, g *delegation.Grant) { g.Audience = "https://a https://b" }, "audience"},
		"no id":                         {func(_ *delegation.Subject, g *delegation.Grant) { g.ID = "" }, "jti"},
		"id out of form":                {func(_ *delegation.Subject, g *delegation.Grant) { g.ID = "a.b" }, "jti"},
		"no transaction":                {func(_ *delegation.Subject, g *delegation.Grant) { g.Transaction = "" }, "txn"},
		"no time":                       {func(_ *delegation.Subject, g *delegation.Grant) { g.Now = time.Time{} }, "exp"},
		"no life":                       {func(_ *delegation.Subject, g *delegation.Grant) { g.Life = 0 }, "exp"},
		"negative life":                 {func(_ *delegation.Subject, g *delegation.Grant) { g.Life = -time.Minute }, "exp"},
		"life over an hour":             {func(_ *delegation.Subject, g *delegation.Grant) { g.Life = time.Hour + time.Second }, "exp"},
		"subject token expired":         {func(s *delegation.Subject, g *delegation.Grant) { s.Expiry = g.Now }, "exp"},
		"subject token expired long":    {func(s *delegation.Subject, g *delegation.Grant) { s.Expiry = g.Now.Add(-time.Hour) }, "exp"},
		"negative depth":                {func(_ *delegation.Subject, g *delegation.Grant) { g.MaxDepth = -1 }, "depth"},
		"control in acr":                {func(s *delegation.Subject, _ *delegation.Grant) { s.ACR = "a\nb" }, "acr"},
		"long acr":                      {func(s *delegation.Subject, _ *delegation.Grant) { s.ACR = strings.Repeat("a", 256) }, "acr"},
		"control in sid":                {func(s *delegation.Subject, _ *delegation.Grant) { s.SessionID = "a\x00" }, "sid"},
		"many amr":                      {func(s *delegation.Subject, _ *delegation.Grant) { s.AMR = many(17, "pwd") }, "amr"},
		"many groups":                   {func(s *delegation.Subject, _ *delegation.Grant) { s.Groups = many(65, "g") }, "groups"},
		"empty group":                   {func(s *delegation.Subject, _ *delegation.Grant) { s.Groups = []string{""} }, "groups"},
		"bad UTF-8 in a group":          {func(s *delegation.Subject, _ *delegation.Grant) { s.Groups = []string{"\xff"} }, "groups"},
		"groups too long together":      {func(s *delegation.Subject, _ *delegation.Grant) { s.Groups = many(64, strings.Repeat("g", 128)) }, "size"},
		"binding is not a thumbprint":   {func(_ *delegation.Subject, g *delegation.Grant) { g.Confirmation = &delegation.Confirmation{JKT: "x"} }, "cnf"},
		"certificate is not a thumbprint (MT1)": {func(_ *delegation.Subject, g *delegation.Grant) {
			g.Confirmation = &delegation.Confirmation{X5T: jkt + "="}
		}, "cnf"},
		"bound to nothing (DP11)": {func(_ *delegation.Subject, g *delegation.Grant) { g.Confirmation = &delegation.Confirmation{} }, "cnf"},
		"bound to two keys (DP11)": {func(_ *delegation.Subject, g *delegation.Grant) {
			g.Confirmation = &delegation.Confirmation{JKT: jkt, X5T: x5t}
		}, "cnf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, g := alice(), rootGrant(t)
			c.change(&s, &g)
			_, err := delegation.Root(s, g)
			wantRule(t, err, c.rule)
		})
	}
}

func wantRule(t *testing.T, err error, rule string) {
	t.Helper()
	var law *delegation.LawError
	if !errors.As(err, &law) || law.Rule != rule {
		t.Errorf("got %v, want a LawError of rule %q", err, rule)
	}
}

// TestDelegateLaw: what Delegate refuses beyond Root, each with its rule.
func TestDelegateLaw(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	bound := &delegation.Confirmation{JKT: jkt}
	for name, c := range map[string]struct {
		parent func(*delegation.Claims)
		change func(*delegation.Grant)
		rule   string
	}{
		"wider scope (TX23)":    {nil, func(g *delegation.Grant) { g.Scope = scopes(t, "issues:read admin") }, "scope"},
		"scope of other case":   {nil, func(g *delegation.Grant) { g.Scope = scopes(t, "Issues:read") }, "scope"},
		"scope from an empty":   {func(c *delegation.Claims) { c.Scope = delegation.Scopes{} }, func(*delegation.Grant) {}, "scope"},
		"another org (TX24)":    {nil, func(g *delegation.Grant) { g.Org = "globex" }, "org"},
		"wholly another org":    {nil, func(g *delegation.Grant) { g.Org, g.ClientID, g.Actor = "globex", "globex.x", "agent:globex/x" }, "org"},
		"actor of another org":  {nil, func(g *delegation.Grant) { g.Actor = "agent:globex/x" }, "org"},
		"client of another org": {nil, func(g *delegation.Grant) { g.ClientID = "globex.x" }, "org"},
		"another issuer":        {nil, func(g *delegation.Grant) { g.Issuer = "https://evil.test" }, "iss"},
		"another transaction":   {nil, func(g *delegation.Grant) { g.Transaction = "other" }, "txn"},
		"parent expired":        {nil, func(g *delegation.Grant) { g.Now = noon.Add(5 * time.Minute) }, "exp"},
		"no audience":           {nil, func(g *delegation.Grant) { g.Audience = "" }, "audience"},
		"no actor":              {nil, func(g *delegation.Grant) { g.Actor = "" }, "act"},
		"actor is the subject":  {nil, func(g *delegation.Grant) { g.Actor = delegationtest.User }, "act"}, // ACT8
		"id of the parent":      {func(c *delegation.Claims) { c.ID = "same" }, func(g *delegation.Grant) { g.ID = "same" }, "lineage"},
		"too deep (ACT6)":       {nil, func(g *delegation.Grant) { g.MaxDepth = 2 }, "depth"},
		"too deep by default": {func(c *delegation.Claims) {
			delegationtest.As("acme", "alice", "a", "b", "c", "d", "e")(c)
		}, func(*delegation.Grant) {}, "depth"},
		"too deep for anybody": {func(c *delegation.Claims) {
			delegationtest.As("acme", "alice", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")(c)
		}, func(g *delegation.Grant) { g.MaxDepth = 100 }, "depth"},
		"lineage too long": {func(c *delegation.Claims) {
			for n := range 63 {
				c.Lineage = append(c.Lineage, fmt.Sprintf("l%d", n))
			}
		}, func(*delegation.Grant) {}, "lineage"},
		"unbound from bound (ACT9)": {func(c *delegation.Claims) { c.Confirmation = bound }, func(*delegation.Grant) {}, "cnf"},
		"same actor, other key (ACT9)": {func(c *delegation.Claims) { c.Confirmation = bound }, func(g *delegation.Grant) {
			g.Actor, g.Confirmation = "agent:acme/researcher", &delegation.Confirmation{JKT: strings.Repeat("A", 43)}
		}, "cnf"},
		"same actor, the same thumbprint of a certificate (ACT9)": {func(c *delegation.Claims) { c.Confirmation = bound }, func(g *delegation.Grant) {
			g.Actor, g.Confirmation = "agent:acme/researcher", &delegation.Confirmation{X5T: jkt}
		}, "cnf"},
		"same actor, a renewed certificate (MT4)": {func(c *delegation.Claims) { c.Confirmation = &delegation.Confirmation{X5T: x5t} }, func(g *delegation.Grant) {
			g.Actor, g.Confirmation = "agent:acme/researcher", &delegation.Confirmation{X5T: jkt}
		}, "cnf"},
		"unbound from a certificate (ACT9)": {func(c *delegation.Claims) { c.Confirmation = &delegation.Confirmation{X5T: x5t} }, func(*delegation.Grant) {}, "cnf"},
		"from one key to two (DP11)": {func(c *delegation.Claims) { c.Confirmation = bound }, func(g *delegation.Grant) {
			g.Confirmation = &delegation.Confirmation{JKT: jkt, X5T: x5t}
		}, "cnf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := childGrant(t)
			g.Actor, g.Scope = "agent:acme/writer", scopes(t, "issues:read")
			c.change(&g)
			_, err := i.Verified(t, c.parent).Delegate(g)
			wantRule(t, err, c.rule)
		})
	}
	_, err := delegation.Verified{}.Delegate(childGrant(t))
	wantRule(t, err, delegation.RuleUnverified)
}

// TestBoundStaysBound (ACT9): the same actor keeps its key, another proves its own, of whichever kind; and a token that was not
// bound may become so.
func TestBoundStaysBound(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	key, certificate := delegation.Confirmation{JKT: jkt}, delegation.Confirmation{X5T: x5t}
	other := delegation.Confirmation{JKT: strings.Repeat("A", 43)}
	const same, another = "agent:acme/researcher", "agent:acme/writer"
	for _, c := range []struct {
		parent *delegation.Confirmation
		actor  string
		child  delegation.Confirmation
	}{
		{&key, same, key}, {&key, another, other}, {&key, another, key}, {&key, another, certificate},
		{&certificate, same, certificate}, {&certificate, another, other}, {nil, same, key}, {nil, another, certificate},
	} {
		g := childGrant(t)
		g.Actor, g.Scope, g.Confirmation = c.actor, delegation.Scopes{}, &c.child
		u, err := i.Verified(t, func(p *delegation.Claims) { p.Confirmation = c.parent }).Delegate(g)
		if err != nil || *u.Claims().Confirmation != c.child {
			t.Errorf("%v to %v: %v", c.parent, c.child, err)
		}
	}
}

// TestDelegateKeepsWhatItDoesNotName: a start that has passed and details that were granted are handed on as they are.
func TestDelegateKeepsWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	const details = `[{"type":"github_issue","n":1.50}]`
	parent := newIssuer(t).Verified(t, func(c *delegation.Claims) {
		c.NotBefore, c.AuthorizationDetails = noon, []byte(details)
	})
	u, err := parent.Delegate(childOf(t))
	if err != nil {
		t.Fatal(err)
	}
	if c := u.Claims(); !c.NotBefore.Equal(noon) || string(c.AuthorizationDetails) != details {
		t.Errorf("not before %s, details %s", c.NotBefore, c.AuthorizationDetails)
	}
}

// TestZeroValues: nothing comes of nothing.
func TestZeroValues(t *testing.T) {
	t.Parallel()
	if _, err := (delegation.Unsigned{}).Payload(); err == nil {
		t.Error("the zero Unsigned has a payload")
	}
	var v delegation.Verified
	if v.Subject()+v.Actor()+v.ClientID()+v.ID()+v.Transaction()+v.Audience()+string(v.OrgID()) != "" || v.Depth() != 0 ||
		!v.Scope().Empty() || len(v.Chain()) != 0 || !v.Expiry().IsZero() || v.Claims().Issuer != "" || (delegation.Unsigned{}).Claims().Issuer != "" {
		t.Error("the zero Verified says something")
	}
}

// TestClaimsAreCopies: a service that changes what it was given does not change what was verified.
func TestClaimsAreCopies(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.Verified(t, func(c *delegation.Claims) {
		c.Groups, c.AMR, c.AuthorizationDetails = []string{"g"}, []string{"pwd"}, []byte(`[{"type":"t"}]`)
		c.MayAct = &delegation.MayAct{Issuer: c.Issuer, Subject: "agent:acme/x"}
		c.Confirmation = &delegation.Confirmation{JKT: jkt}
		c.Actor.Other = []byte(`{"x":1}`)
	})
	before := v.Claims()
	c := v.Claims()
	c.Groups[0], c.AMR[0], c.Lineage[0], c.AuthorizationDetails[0] = "z", "z", "z", 'z'
	c.MayAct.Subject, c.Confirmation.JKT, c.Actor.Subject, c.Actor.Other[0], c.Actor.Act.Subject = "z", "z", "z", 'z', "z"
	v.Chain()[0] = "z"
	if diff := cmp.Diff(before, v.Claims(), cmp.Comparer(delegation.Scopes.Equal)); diff != "" {
		t.Error(diff)
	}
}
