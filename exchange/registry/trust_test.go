package registry_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(t *testing.T, key *ecdsa.PrivateKey, ca bool) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acme"}, NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pemOf(certificates ...*x509.Certificate) string {
	var out []byte
	for _, c := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(out)
}

func bundleOf(t *testing.T, key crypto.PublicKey, authorities ...*x509.Certificate) json.RawMessage {
	t.Helper()
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString("acme.test"))
	for _, c := range authorities {
		b.AddX509Authority(c)
	}
	if key != nil {
		if err := b.AddJWTAuthority("k", key); err != nil {
			t.Fatal(err)
		}
	}
	data, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func keyJSON(t *testing.T, kid string, alg jose.Algorithm) json.RawMessage {
	t.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey(kid, alg, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return jose.NewKeySet(public).JSON()
}

// full is a document with every field that can stand beside the others.
func full(t *testing.T) registry.Document {
	t.Helper()
	key := newKey(t)
	d := parse(t, goodYAML)
	d.Limits.Rate, d.Limits.AgentRate = 100, 10
	d.ServiceAccounts = []registry.ServiceAccount{{Name: "reporting", Scopes: []string{"github:read"}, Groups: []string{"robots"}}}
	d.WorkloadIssuers = []registry.WorkloadIssuer{
		{Name: "cluster", URL: "https://kubernetes.test", JWKS: keyJSON(t, "c", jose.ES256)},
		{Name: "ci", URL: "https://ci.test", Audience: "obo", Algorithms: []string{"RS256"}},
	}
	d.TrustDomains = []registry.TrustDomain{{Name: "acme.test", Bundle: bundleOf(t, key.Public(), selfSigned(t, key, true))}}
	d.ClientCAs = pemOf(selfSigned(t, key, true))
	d.DetailTypes = []rar.Type{{
		Name: "payment", Schema: []byte(`{"type":"object","properties":{"amount":{"type":"integer"}}}`), Narrowing: map[string]rar.Rule{"amount": rar.AtMost},
	}}
	d.AuthorizationServers = []registry.AuthorizationServer{
		{Issuer: "https://as.partner.test", Clients: map[string]string{"orchestrator": "obo-acme"}, Scopes: []string{"github:read"}},
	}
	d.TransactionTokens.TrustDomain = "acme.test"
	d.Resources[0].Introspectors = []string{"researcher"}
	d.Issuers[0].TokenTypes = []string{"id_token", "jwt", "jwt-bearer", "id-jag"}
	a := &d.Agents[0]
	a.Grants, a.ServiceAccount = []string{"token-exchange", "client_credentials", "jwt-bearer"}, "reporting"
	a.Audiences, a.DetailTypes = []string{"obo"}, []string{"payment"}
	a.TLSClientAuth, a.SPIFFEID = &registry.TLSSubject{DN: "CN=orchestrator,O=Acme"}, "spiffe://acme.test/orchestrator"
	a.Workloads = []registry.WorkloadRule{
		{Issuer: "cluster", Claims: map[string]string{"sub": "system:serviceaccount:agents:orchestrator", "/kubernetes.io/namespace": "agents"}},
		{Issuer: "ci", Claims: map[string]string{"sub": "repo:acme/agents:*", "repository_visibility": "private"}},
	}
	a.TokenEndpointAudience, a.DPoPBound = true, true
	return d
}

// compile puts a document into force, as the registry does.
func compile(t *testing.T, d registry.Document) *registry.Org {
	t.Helper()
	data, err := jose.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	o, err := registry.Compile(store.OrgConfig{Org: d.Org, Version: 1, Document: data}, store.OrgConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestWholeDocument: every field is taken, and Compile makes all of them ready.
func TestWholeDocument(t *testing.T) {
	t.Parallel()
	d := full(t)
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	o := compile(t, d)
	account, ok := o.ServiceAccount("reporting")
	if !ok || account.Groups[0] != "robots" {
		t.Errorf("service account %+v", account)
	}
	if w, ok := o.WorkloadIssuer("https://kubernetes.test"); !ok || len(w.Keys.Keys()) != 1 || !w.AcceptsAlgorithm(jose.ES256) {
		t.Errorf("workload issuer %+v", w)
	}
	if w, ok := o.WorkloadIssuer("https://ci.test"); !ok || len(w.Keys.Keys()) != 0 || w.AcceptsAlgorithm(jose.ES256) {
		t.Errorf("workload issuer %+v", w)
	}
	if td, ok := o.TrustDomain("acme.test"); !ok || len(td.Bundle.X509Authorities()) != 1 || len(td.Bundle.JWTAuthorities()) != 1 {
		t.Errorf("trust domain %+v", td)
	}
	if s, ok := o.AuthorizationServer("https://as.partner.test"); !ok || s.Clients["orchestrator"] != "obo-acme" {
		t.Errorf("authorization server %+v", s)
	}
	if c, ok := o.Member("spiffe://acme.test/orchestrator"); !ok || c.Name != "orchestrator" || !c.Grant(registry.GrantClientCredentials) {
		t.Errorf("member %+v", c)
	}
	if c, _ := o.Client("researcher"); !c.Grant(registry.GrantTokenExchange) || c.Grant(registry.GrantJWTBearer) {
		t.Error("TE10: an agent without grants has another than token-exchange")
	}
	if o.ClientCAs() == nil || o.TransactionDomain() != "acme.test" || o.Rate() != 100 || o.AgentRate() != 10 || o.FAPI() {
		t.Error("a field is lost")
	}
	if !o.MayIntrospect("https://executor.test", "researcher") || o.MayIntrospect("https://executor.test", "orchestrator") ||
		o.MayIntrospect("https://other.test", "researcher") {
		t.Error("IN3: introspectors")
	}
	if !o.DetailTypes().Has("payment") {
		t.Error("authorization_details_types are lost")
	}
}

// TestValidateEveryField: each mistake is found at its place, and said with what to do.
func TestValidateEveryField(t *testing.T) {
	t.Parallel()
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	key := newKey(t)
	other := selfSigned(t, newKey(t), false)
	agent := func(f func(*registry.Agent)) func(*registry.Document) {
		return func(d *registry.Document) { f(&d.Agents[0]) }
	}
	tls := func(s registry.TLSSubject) func(*registry.Document) {
		return agent(func(a *registry.Agent) { a.TLSClientAuth = &s })
	}
	rule := func(issuer string, claims map[string]string) func(*registry.Document) {
		return agent(func(a *registry.Agent) { a.Workloads = []registry.WorkloadRule{{Issuer: issuer, Claims: claims}} })
	}
	for _, c := range []struct {
		name, path, says string
		spoil            func(*registry.Document)
	}{
		{"profile", "profile", "fapi", func(d *registry.Document) { d.Profile = "FAPI" }},
		{"rate", "limits/rate", "requests a second", func(d *registry.Document) { d.Limits.Rate = -1 }},
		{"agent_rate", "limits/agent_rate", "requests a second", func(d *registry.Document) { d.Limits.AgentRate = 1_000_000 }},
		{"service as an issuer", "issuers/service/name", "reserved", func(d *registry.Document) { d.Issuers[0].Name = "service" }},
		{"token types", "issuers/okta/token_types", "id-jag", func(d *registry.Document) { d.Issuers[0].TokenTypes = []string{"saml2"} }},
		{"service account's name", "service_accounts/A/name", "a-z", func(d *registry.Document) { d.ServiceAccounts[0].Name = "A" }},
		{"service account twice", "service_accounts/reporting/name", "twice", func(d *registry.Document) { d.ServiceAccounts = append(d.ServiceAccounts, d.ServiceAccounts[0]) }},
		{"service account without scopes", "service_accounts/reporting/scopes", "missing", func(d *registry.Document) { d.ServiceAccounts[0].Scopes = nil }},
		{"service account's scope", "service_accounts/reporting/scopes", "not a scope", func(d *registry.Document) { d.ServiceAccounts[0].Scopes = []string{"x"} }},
		{"service account's group", "service_accounts/reporting/groups", "slash", func(d *registry.Document) { d.ServiceAccounts[0].Groups = []string{"a/b"} }},
		{"workload issuer's URL", "workload_issuers/cluster/url", "https", func(d *registry.Document) { d.WorkloadIssuers[0].URL = "http://kubernetes.test" }},
		{"workload issuer twice", "workload_issuers/ci/url", "twice", func(d *registry.Document) { d.WorkloadIssuers[1].URL = d.WorkloadIssuers[0].URL }},
		{"CA9 users' audience", "workload_issuers/ci/audience", "user's login", func(d *registry.Document) { d.WorkloadIssuers[1].URL = d.Issuers[0].URL }},
		{"CA9 no audience beside users", "workload_issuers/ci/audience", "user's login", func(d *registry.Document) {
			d.WorkloadIssuers[1].URL, d.WorkloadIssuers[1].Audience = d.Issuers[0].URL, ""
		}},
		{"workload issuer's keys", "workload_issuers/cluster/jwks", "JWK set", func(d *registry.Document) { d.WorkloadIssuers[0].JWKS = []byte(`[]`) }},
		{"workload issuer without a key", "workload_issuers/cluster/jwks", "discovery", func(d *registry.Document) { d.WorkloadIssuers[0].JWKS = []byte(`{"keys":[]}`) }},
		{"workload issuer's algorithms", "workload_issuers/ci/algorithms", "not one of", func(d *registry.Document) { d.WorkloadIssuers[1].Algorithms = []string{"HS256"} }},
		{"WI2 trust domain", "trust_domains/Acme.test/name", "not a trust domain", func(d *registry.Document) { d.TrustDomains[0].Name = "Acme.test" }},
		{"WI2 trust domain as an ID", "trust_domains/spiffe://acme.test/name", "not a trust domain", func(d *registry.Document) { d.TrustDomains[0].Name = "spiffe://acme.test" }},
		{"trust domain twice", "trust_domains/acme.test/name", "twice", func(d *registry.Document) { d.TrustDomains = append(d.TrustDomains, d.TrustDomains[0]) }},
		{"bundle", "trust_domains/acme.test/bundle", "spire-server", func(d *registry.Document) { d.TrustDomains[0].Bundle = []byte(`{}`) }},
		{"WI1 bundle without its uses", "trust_domains/acme.test/bundle", "jwt-svid", func(d *registry.Document) { d.TrustDomains[0].Bundle = keyJSON(t, "k", jose.ES256) }},
		{"WI1 bundle with EdDSA", "trust_domains/acme.test/bundle", "EdDSA", func(d *registry.Document) { d.TrustDomains[0].Bundle = bundleOf(t, ed.Public()) }},
		{"WI3 bundle with a leaf", "trust_domains/acme.test/bundle", "authority", func(d *registry.Document) { d.TrustDomains[0].Bundle = bundleOf(t, nil, other) }},
		{"client_cas", "client_cas", "PEM", func(d *registry.Document) { d.ClientCAs = "x" }},
		{"client_cas with a leaf", "client_cas", "authority", func(d *registry.Document) { d.ClientCAs = pemOf(other) }},
		{"CA7 no client_cas", "agents/orchestrator/tls_client_auth", "client_cas", func(d *registry.Document) { d.ClientCAs = "" }},
		{"CA7 two subjects", "agents/orchestrator/tls_client_auth", "exactly one", tls(registry.TLSSubject{DNS: "a.test", IP: "192.0.2.1"})},
		{"CA7 no subject", "agents/orchestrator/tls_client_auth", "exactly one", tls(registry.TLSSubject{})},
		{"CA7 DN", "agents/orchestrator/tls_client_auth/subject_dn", "RFC 4514", tls(registry.TLSSubject{DN: "orchestrator"})},
		{"CA7 wildcard", "agents/orchestrator/tls_client_auth/san_dns", "wildcard", tls(registry.TLSSubject{DNS: "*.acme.test"})},
		{"CA7 IP", "agents/orchestrator/tls_client_auth/san_ip", "IP address", tls(registry.TLSSubject{IP: "192.0.2"})},
		{"CA7 URI", "agents/orchestrator/tls_client_auth/san_uri", "absolute", tls(registry.TLSSubject{URI: "orchestrator"})},
		{"CA10 URI of SPIFFE", "agents/orchestrator/tls_client_auth/san_uri", "spiffe_id", tls(registry.TLSSubject{URI: "spiffe://acme.test/x"})},
		{"CA7 email", "agents/orchestrator/tls_client_auth/san_email", "address", tls(registry.TLSSubject{Email: "x"})},
		{"CA7 x5c of another key", "agents/orchestrator/jwks", "another key", agent(func(a *registry.Agent) { a.JWKS = x5c(t, key, other) })},
		{"CA7 x5c that is none", "agents/orchestrator/jwks", "x5c", agent(func(a *registry.Agent) { a.JWKS = x5c(t, key, &x509.Certificate{Raw: []byte("x")}) })},
		{"WI2 SPIFFE ID", "agents/orchestrator/spiffe_id", "such as", agent(func(a *registry.Agent) { a.SPIFFEID = "spiffe://acme.test" })},
		{"WI2 unknown trust domain", "agents/orchestrator/spiffe_id", "trust_domains", agent(func(a *registry.Agent) { a.SPIFFEID = "spiffe://other.test/x" })},
		{"CA10 SPIFFE ID of two", "agents/researcher/spiffe_id", "another agent", func(d *registry.Document) { d.Agents[1].SPIFFEID = d.Agents[0].SPIFFEID }},
		{"rule without sub", "agents/orchestrator/workloads", "sub among them", rule("ci", map[string]string{"repository": "acme/agents"})},
		{"rule of nobody", "agents/orchestrator/workloads", "workload_issuers", rule("nobody", map[string]string{"sub": "x"})},
		{"rule that takes everything", "agents/orchestrator/workloads", "everything", rule("ci", map[string]string{"sub": "*"})},
		{"rule that names only begin with", "agents/orchestrator/workloads", "begin alike", rule("ci", map[string]string{"sub": "repo:acme*"})},
		{"rule with a star inside", "agents/orchestrator/workloads", "at the end only", rule("ci", map[string]string{"sub": "repo:*/agents"})},
		{"rule on aud", "agents/orchestrator/workloads", "by itself", rule("ci", map[string]string{"sub": "x", "aud": "y"})},
		{"grant", "agents/orchestrator/grants", "not one of", agent(func(a *registry.Agent) { a.Grants = []string{"password", "client_credentials"} })},
		{"grant twice", "agents/orchestrator/grants", "twice", agent(func(a *registry.Agent) { a.Grants = append(a.Grants, a.Grants[0]) })},
		{"service_account missing", "agents/orchestrator/service_account", "missing", agent(func(a *registry.Agent) { a.ServiceAccount = "" })},
		{"service_account without its grant", "agents/orchestrator/service_account", "grants", agent(func(a *registry.Agent) { a.Grants = nil })},
		{"service_account that is none", "agents/orchestrator/service_account", "service_accounts", agent(func(a *registry.Agent) { a.ServiceAccount = "x" })},
		{"agent's audience", "agents/orchestrator/audiences", "any issuer", agent(func(a *registry.Agent) { a.Audiences = []string{"x"} })},
		{"agent's details", "agents/orchestrator/authorization_details_types", "not in", agent(func(a *registry.Agent) { a.DetailTypes = []string{"x"} })},
		{"DP11 bound to two keys", "agents/orchestrator/tls_client_certificate_bound_access_tokens", "one key", agent(func(a *registry.Agent) { a.CertificateBound = true })},
		{"introspectors", "resources/executor/introspectors", "agent", func(d *registry.Document) { d.Resources[0].Introspectors = []string{"x"} }},
		{"authorization server's URL", "authorization_servers/x/issuer", "absolute", func(d *registry.Document) { d.AuthorizationServers[0].Issuer = "x" }},
		{"authorization server that is a resource", "authorization_servers/https://executor.test/issuer", "aud", func(d *registry.Document) { d.AuthorizationServers[0].Issuer = "https://executor.test" }},
		{"authorization server's agents", "authorization_servers/https://as.partner.test/clients", "not an agent", func(d *registry.Document) { d.AuthorizationServers[0].Clients = map[string]string{"x": "y"} }},
		{"authorization server without agents", "authorization_servers/https://as.partner.test/clients", "missing", func(d *registry.Document) { d.AuthorizationServers[0].Clients = nil }},
		{"authorization server's scopes", "authorization_servers/https://as.partner.test/scopes", "not a scope", func(d *registry.Document) { d.AuthorizationServers[0].Scopes = []string{"x"} }},
		{"transaction tokens", "transaction_tokens/trust_domain", "printable", func(d *registry.Document) { d.TransactionTokens.TrustDomain = "a b" }},
		{"transaction tokens for a resource", "transaction_tokens/trust_domain", "aud", func(d *registry.Document) { d.TransactionTokens.TrustDomain = "https://executor.test" }},
		{"details' schema", "authorization_details_types/payment", "", func(d *registry.Document) { d.DetailTypes[0].Schema = []byte(`{"type":"x"}`) }},
		{"FA1 token endpoint audience", "agents/orchestrator/token_endpoint_audience", "fapi", func(d *registry.Document) { d.Profile = "fapi" }},
		{"FA6 an issuer's RS256", "workload_issuers/ci/algorithms", "RS256", func(d *registry.Document) { d.Profile = "fapi" }},
		{"FA6 an agent's RS256", "agents/orchestrator/jwks", "RS256", func(d *registry.Document) { d.Profile, d.Agents[0].JWKS = "fapi", keyJSON(t, "r", jose.RS256) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := full(t)
			c.spoil(&d)
			invalid, ok := errors.AsType[*registry.InvalidError](d.Validate())
			if !ok {
				t.Fatal("accepted")
			}
			if !slices.ContainsFunc(invalid.Problems, func(p registry.Problem) bool {
				return (p.Path == c.path || strings.HasPrefix(p.Path, c.path+"/")) && strings.Contains(p.Message, c.says)
			}) {
				t.Errorf("nothing of %q about %s in\n%v", c.says, c.path, invalid)
			}
		})
	}
}

func x5c(t *testing.T, key *ecdsa.PrivateKey, c *x509.Certificate) json.RawMessage {
	t.Helper()
	public, err := jose.NewKey("k", jose.ES256, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(public.JSON(), &members); err != nil {
		t.Fatal(err)
	}
	members["x5c"] = []string{base64.StdEncoding.EncodeToString(c.Raw)}
	data, err := json.Marshal(map[string]any{"keys": []any{members}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDiffOfEveryField: a change of any field is shown at its place.
func TestDiffOfEveryField(t *testing.T) {
	t.Parallel()
	before := full(t)
	for path, edit := range map[string]func(*registry.Document){
		"profile":                             func(d *registry.Document) { d.Profile = "fapi" },
		"limits/rate":                         func(d *registry.Document) { d.Limits.Rate = 7 },
		"limits/agent_rate":                   func(d *registry.Document) { d.Limits.AgentRate = 0 },
		"service_accounts/reporting":          func(d *registry.Document) { d.ServiceAccounts = nil },
		"workload_issuers/ci":                 func(d *registry.Document) { d.WorkloadIssuers[1].Audience = "x" },
		"trust_domains/acme.test":             func(d *registry.Document) { d.TrustDomains[0].Bundle = []byte(`{"keys":[]}`) },
		"client_cas":                          func(d *registry.Document) { d.ClientCAs = "" },
		"authorization_details_types/payment": func(d *registry.Document) { d.DetailTypes[0].Description = "x" },
		"authorization_servers/https://as.partner.test": func(d *registry.Document) { d.AuthorizationServers[0].Scopes = nil },
		"transaction_tokens/trust_domain":               func(d *registry.Document) { d.TransactionTokens.TrustDomain = "x" },
		"agents/orchestrator":                           func(d *registry.Document) { d.Agents[0].DPoPBound = false },
		"resources/https://executor.test":               func(d *registry.Document) { d.Resources[0].Introspectors = nil },
		"signal_streams/okta-events": func(d *registry.Document) {
			d.SignalStreams = []registry.SignalStream{{Name: "okta-events", Issuer: "okta"}}
		},
		"issuers/okta":     func(d *registry.Document) { d.Issuers[0].TokenTypes = nil },
		"providers/github": func(d *registry.Document) { d.Providers = []policy.Provider{{Name: "github"}} },
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			data, err := jose.Encode(before)
			if err != nil {
				t.Fatal(err)
			}
			after := parse(t, string(data))
			edit(&after)
			if changes := registry.Diff(before, after); len(changes) != 1 || changes[0].Path != path {
				t.Errorf("got %+v", changes)
			}
		})
	}
}
