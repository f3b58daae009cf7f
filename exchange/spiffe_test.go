package exchange_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
)

const spiffeID = "spiffe://acme.test/agents/orchestrator"

// spire is acme's trust domain, whose member the orchestrator is.
type spire struct {
	w    *exchangetest.World
	ca   authority
	keys map[gojose.SignatureAlgorithm]crypto.Signer // by what they sign with; kid is the name of it
}

func newSpire(t *testing.T) spire {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := spire{exchangetest.NewWorld(t), newAuthority(t, "acme.test"), map[gojose.SignatureAlgorithm]crypto.Signer{
		gojose.ES256: newECKey(t, elliptic.P256()), gojose.ES384: newECKey(t, elliptic.P384()), gojose.PS256: rsaKey, gojose.RS512: rsaKey,
	}}
	change(t, s.w, func(d *registry.Document, a *registry.Agent) {
		d.TrustDomains = []registry.TrustDomain{{Name: "acme.test", Bundle: s.bundle(t)}}
		a.SPIFFEID = spiffeID
	})
	return s
}

func (s spire) bundle(t *testing.T) json.RawMessage {
	t.Helper()
	keys := map[string]crypto.PublicKey{}
	for alg, key := range s.keys {
		keys[string(alg)] = key.Public()
	}
	return bundle(t, "acme.test", []*x509.Certificate{s.ca.certificate}, keys)
}

// svid is a JWT-SVID of the orchestrator, with what change makes of its claims.
func (s spire) svid(t *testing.T, alg gojose.SignatureAlgorithm, header map[gojose.HeaderKey]any, change func(map[string]any)) string {
	t.Helper()
	now := s.w.Clock.Now()
	claims := map[string]any{"sub": spiffeID, "aud": exchangetest.Issuer, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	if change != nil {
		change(claims)
	}
	all := map[gojose.HeaderKey]any{"kid": string(alg)}
	for name, value := range header {
		all[name] = value
	}
	return signSVID(t, s.keys[alg], alg, all, claims)
}

func (s spire) credential(assertion string) exchange.Credential {
	return exchange.Credential{ClientID: s.w.Orchestrator.ClientID, Assertion: assertion, AssertionType: exchange.ClientAssertionSPIFFE}
}

// TestJWTSVID: WI1, CA10, what a JWT-SVID may be as a client assertion.
func TestJWTSVID(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	now := s.w.Clock.Now()
	claims := func(change func(map[string]any)) string { return s.svid(t, gojose.ES256, nil, change) }
	header := func(h map[gojose.HeaderKey]any) string { return s.svid(t, gojose.ES256, h, nil) }
	set := func(name string, value any) string { return claims(func(c map[string]any) { c[name] = value }) }
	for name, c := range map[string]struct {
		svid string
		want exchange.Reason
	}{
		"WI1 ES256":                        {claims(nil), ""},
		"WI1 ES384":                        {s.svid(t, gojose.ES384, nil, nil), ""},
		"WI1 PS256":                        {s.svid(t, gojose.PS256, nil, nil), ""},
		"WI1 RS512":                        {s.svid(t, gojose.RS512, nil, nil), ""},
		"WI1 typ JWT":                      {header(map[gojose.HeaderKey]any{"typ": "JWT"}), ""},
		"WI1 typ JOSE":                     {header(map[gojose.HeaderKey]any{"typ": "JOSE"}), ""},
		"WI1 typ jwt":                      {header(map[gojose.HeaderKey]any{"typ": "jwt"}), exchange.InvalidClient},
		"JW5 typ at+jwt":                   {header(map[gojose.HeaderKey]any{"typ": "at+jwt"}), exchange.InvalidClient},
		"JW4 typ wit+jwt":                  {header(map[gojose.HeaderKey]any{"typ": "wit+jwt"}), exchange.InvalidClient},
		"WI1 another header parameter":     {header(map[gojose.HeaderKey]any{"x": "y"}), exchange.InvalidClient},
		"JW6 jku":                          {header(map[gojose.HeaderKey]any{"jku": "https://keys.test"}), exchange.InvalidClient},
		"JW6 a kid that is a path":         {header(map[gojose.HeaderKey]any{"kid": "../../ES256"}), exchange.InvalidClient},
		"WI1 a kid of another key":         {header(map[gojose.HeaderKey]any{"kid": "ES384"}), exchange.InvalidClient},
		"CA10 aud is an array of one":      {set("aud", []string{exchangetest.Issuer}), ""},
		"CA10 aud has another beside ours": {set("aud", []string{exchangetest.Issuer, "https://other.test"}), exchange.InvalidClient},
		"CA10 aud twice":                   {set("aud", []string{exchangetest.Issuer, exchangetest.Issuer}), exchange.InvalidClient},
		"CA10 aud is the token endpoint":   {set("aud", exchangetest.Issuer+"/token"), exchange.InvalidClient},
		"WI1 no aud":                       {set("aud", nil), exchange.InvalidClient},
		"WI1 no exp":                       {set("exp", nil), exchange.InvalidClient},
		"WI1 expired 30 seconds ago, within the library's leeway": {set("exp", now.Add(-30*time.Second).Unix()), exchange.InvalidClient},
		"WI1 a day and more":                   {set("exp", now.Add(25*time.Hour).Unix()), exchange.InvalidClient},
		"WI1 from the future, within a minute": {set("iat", now.Add(30*time.Second).Unix()), exchange.InvalidClient},
		"WI1 nbf in the future":                {set("nbf", now.Add(30*time.Second).Unix()), exchange.InvalidClient},
		"WI1 jti is not for single use":        {set("jti", "the same"), ""},
		"CA10 sub of no agent":                 {set("sub", "spiffe://acme.test/agents/researcher"), exchange.InvalidClient},
		"WI2 sub of another trust domain":      {set("sub", "spiffe://globex.test/agents/orchestrator"), exchange.InvalidClient},
		"JW8 a part too many":                  {claims(nil) + ".x", exchange.InvalidClient},
		"JW8 a line break":                     {strings.Replace(claims(nil), ".", ".\n", 1), exchange.InvalidClient},
		"JW16 beyond all size":                 {strings.Repeat("a", 20_000), exchange.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, withCredential(t, s.w, s.credential(c.svid)), c.want)
		})
	}
}

// TestSVIDAlgorithms: WI1, EdDSA is none of SPIFFE's, and a signature is none of a stranger's. JW1.
func TestSVIDAlgorithms(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := s.w.Clock.Now()
	claims := func() map[string]any {
		return map[string]any{"sub": spiffeID, "aud": exchangetest.Issuer, "exp": now.Add(time.Minute).Unix()}
	}
	public, err := x509.MarshalPKIXPublicKey(s.keys[gojose.RS512].Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"WI1 EdDSA":                    signSVID(t, ed, gojose.EdDSA, map[gojose.HeaderKey]any{"kid": "ES256"}, claims()),
		"WI1 a stranger's key":         signSVID(t, newECKey(t, elliptic.P256()), gojose.ES256, map[gojose.HeaderKey]any{"kid": "ES256"}, claims()),
		"JW1 HS256 with a public key":  signSVID(t, public, gojose.HS256, map[gojose.HeaderKey]any{"kid": "RS512"}, claims()),
		"JW3 the key that signs X.509": signSVID(t, s.ca.key, gojose.ES256, map[gojose.HeaderKey]any{"kid": "ES256"}, claims()),
		"WI1 without kid":              signSVID(t, s.keys[gojose.ES256], gojose.ES256, nil, claims()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, withCredential(t, s.w, s.credential(token)), exchange.InvalidClient)
		})
	}
}

// TestSPIFFEIDs: WI2, what is no SPIFFE ID authenticates nobody, whoever signed it.
func TestSPIFFEIDs(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	for _, id := range []string{
		"spiffe://acme.test", "spiffe://acme.test/", spiffeID + "/", "spiffe://acme.test//agents/orchestrator", "spiffe://acme.test/agents/../orchestrator",
		"spiffe://acme.test/agents/./orchestrator", "SPIFFE://acme.test/agents/orchestrator", "spiffe://ACME.test/agents/orchestrator",
		"spiffe://acme.test:443/agents/orchestrator", "spiffe://u@acme.test/agents/orchestrator", spiffeID + "?x", spiffeID + "#x",
		"spiffe://acme.test/agents/%6frchestrator", "https://acme.test/agents/orchestrator", "", "spiffe:///agents/orchestrator",
		"spiffe://acme.test/" + strings.Repeat("a", 2048),
	} {
		t.Run("WI2 "+strings.ReplaceAll(id[:min(len(id), 60)], "/", "|"), func(t *testing.T) {
			t.Parallel()
			token := s.svid(t, gojose.ES256, nil, func(c map[string]any) { c["sub"] = id })
			want(t, withCredential(t, s.w, s.credential(token)), exchange.InvalidClient)
		})
	}
}

// TestSVIDNamesItsClient: CA6, WI4, a JWT-SVID needs a client_id, which no SPIFFE ID is, and is known without a type.
func TestSVIDNamesItsClient(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	with := func(change func(*exchange.Credential)) exchange.Reason {
		cred := s.credential(s.svid(t, gojose.ES384, nil, nil))
		change(&cred)
		return withCredential(t, s.w, cred)
	}
	want(t, with(func(c *exchange.Credential) { c.AssertionType = "" }), "") // WI4: a bearer on the gRPC door
	want(t, with(func(c *exchange.Credential) { c.ClientID = "" }), exchange.InvalidClient)
	want(t, with(func(c *exchange.Credential) { c.ClientID = spiffeID }), exchange.InvalidClient)
	want(t, with(func(c *exchange.Credential) { c.ClientID = s.w.Researcher.ClientID }), exchange.InvalidClient)
	want(t, with(func(c *exchange.Credential) { c.ClientID = s.w.Stranger.ClientID }), exchange.InvalidClient) // another org, which trusts no such domain
	want(t, with(func(c *exchange.Credential) { c.AssertionType = exchange.ClientAssertionType }), exchange.InvalidClient)
	cred := s.w.Orchestrator.AssertionCredential(t, s.w, nil)
	cred.ClientID, cred.AssertionType = s.w.Orchestrator.ClientID, exchange.ClientAssertionSPIFFE
	want(t, withCredential(t, s.w, cred), exchange.InvalidClient)
}

// TestX509SVID: WI3, CA10, what an X509-SVID may be.
func TestX509SVID(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	foreign := newAuthority(t, "acme.test")
	leaf := func(change func(*x509.Certificate)) *x509.Certificate { return s.ca.svidLeaf(t, spiffeID, change) }
	for name, c := range map[string]struct {
		leaf *x509.Certificate
		want exchange.Reason
	}{
		"CA10 the agent's own":                       {leaf(nil), ""},
		"WI3 without extended key usage":             {leaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ""},
		"WI3 two URIs":                               {leaf(func(c *x509.Certificate) { c.URIs = append(c.URIs, mustURL(t, "https://x.test")) }), exchange.InvalidClient},
		"WI3 the SPIFFE ID is the second of two":     {leaf(func(c *x509.Certificate) { c.URIs = append([]*url.URL{mustURL(t, "https://x.test")}, c.URIs...) }), exchange.InvalidClient},
		"WI3 the trust domain's own ID":              {s.ca.svidLeaf(t, "spiffe://acme.test", nil), exchange.InvalidClient},
		"CA10 a CA":                                  {leaf(func(c *x509.Certificate) { c.IsCA = true }), exchange.InvalidClient},
		"WI3 keyCertSign":                            {leaf(func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign }), exchange.InvalidClient},
		"CA10 no digitalSignature":                   {leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), exchange.InvalidClient},
		"CA10 no key usage":                          {leaf(func(c *x509.Certificate) { c.KeyUsage = 0 }), exchange.InvalidClient},
		"CA10 another workload":                      {s.ca.svidLeaf(t, "spiffe://acme.test/agents/researcher", nil), exchange.InvalidClient},
		"WI2 another trust domain":                   {s.ca.svidLeaf(t, "spiffe://globex.test/agents/orchestrator", nil), exchange.InvalidClient},
		"CA10 an authority that is not the domain's": {foreign.svidLeaf(t, spiffeID, nil), exchange.InvalidClient},
		"CA10 expired":                               {leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), exchange.InvalidClient},
		"CA10 no URI at all":                         {s.ca.leaf(t, func(*x509.Certificate) {}), exchange.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, withCredential(t, s.w, byCertificates(s.w, c.leaf)), c.want)
		})
	}
	other := byCertificates(s.w, leaf(nil))
	other.ClientID = spiffeID // two orgs may have a trust domain of one name, so it names no org
	want(t, withCredential(t, s.w, other), exchange.InvalidClient)
}

// TestSVIDAsActorToken: WI6, the next agent is proven by its SVID.
func TestSVIDAsActorToken(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	const researcher = "spiffe://acme.test/agents/researcher"
	s.w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		for i := range d.Agents {
			if d.Agents[i].Name == "researcher" {
				d.Agents[i].SPIFFEID = researcher
			}
		}
	})
	handOver := func(sub string, key *ecdsa.PrivateKey) exchange.Request {
		r := exchangetest.Next(s.w.Token(t, s.w.Orchestrator, "github:read", nil), "github:read")
		now := s.w.Clock.Now()
		claims := map[string]any{"sub": sub, "aud": exchangetest.Issuer, "exp": now.Add(time.Minute).Unix()}
		r.ActorToken, r.ActorTokenType = signSVID(t, key, gojose.ES256, map[gojose.HeaderKey]any{"kid": "ES256"}, claims), exchange.TypeJWT
		return r
	}
	own := s.keys[gojose.ES256].(*ecdsa.PrivateKey)
	got := s.w.Exchange(t, s.w.Orchestrator, handOver(researcher, own))
	if chain := s.w.Claims(t, got.AccessToken).Chain(); strings.Join(chain, " ") != "agent:acme/researcher agent:acme/orchestrator" {
		t.Errorf("chain %q", chain)
	}
	want(t, reason(t, s.w, s.w.Orchestrator, handOver("spiffe://acme.test/agents/nobody", own)), exchange.ActorTokenInvalid)
	want(t, reason(t, s.w, s.w.Orchestrator, handOver("spiffe://globex.test/agents/researcher", own)), exchange.ActorTokenInvalid)
	want(t, reason(t, s.w, s.w.Orchestrator, handOver(researcher, newECKey(t, elliptic.P256()))), exchange.ActorTokenInvalid)
}
