package exchange_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// TestTLSClientAuth: CA7, one registered subject value, whatever else the certificate says.
func TestTLSClientAuth(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	ca := newAuthority(t, "acme CA")
	named := func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "orchestrator, inc", Organization: []string{"Acme"}, Country: []string{"DE"}}
		c.DNSNames, c.EmailAddresses = []string{"orchestrator.acme.test", "other.acme.test"}, []string{"orchestrator@acme.test"}
		c.URIs = []*url.URL{mustURL(t, "urn:acme:orchestrator")}
		c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 7).To4(), net.ParseIP("2001:db8::7")}
	}
	leaf := ca.leaf(t, named)
	for _, c := range []struct {
		name    string
		subject registry.TLSSubject
		want    exchange.Reason
	}{
		{"CA7 subject_dn", registry.TLSSubject{DN: `CN=orchestrator\, inc,O=Acme,C=DE`}, ""},
		{"CA7 subject_dn in another spelling", registry.TLSSubject{DN: `cn=orchestrator\2c inc, 2.5.4.10=Acme, c=DE`}, ""},
		{"CA7 subject_dn with a part too few", registry.TLSSubject{DN: `CN=orchestrator\, inc,O=Acme`}, exchange.InvalidClient},
		{"CA7 subject_dn in another order", registry.TLSSubject{DN: `C=DE,O=Acme,CN=orchestrator\, inc`}, exchange.InvalidClient},
		{"CA7 subject_dn as one value", registry.TLSSubject{DN: `CN=orchestrator\, inc\,O=Acme\,C=DE`}, exchange.InvalidClient},
		{"CA7 subject_dn in another case", registry.TLSSubject{DN: `CN=Orchestrator\, inc,O=Acme,C=DE`}, exchange.InvalidClient},
		{"CA7 san_dns", registry.TLSSubject{DNS: "Orchestrator.acme.test"}, ""},
		{"CA7 san_dns of another", registry.TLSSubject{DNS: "acme.test"}, exchange.InvalidClient},
		{"CA7 san_uri", registry.TLSSubject{URI: "urn:acme:orchestrator"}, ""},
		{"CA7 san_uri of another", registry.TLSSubject{URI: "urn:acme:Orchestrator"}, exchange.InvalidClient},
		{"CA7 san_ip", registry.TLSSubject{IP: "192.0.2.7"}, ""},
		{"CA7 san_ip compared as a number", registry.TLSSubject{IP: "2001:DB8:0:0::7"}, ""},
		{"CA7 san_ip that is the same in other bytes", registry.TLSSubject{IP: "::ffff:192.0.2.7"}, exchange.InvalidClient},
		{"CA7 san_email", registry.TLSSubject{Email: "orchestrator@acme.test"}, ""},
		{"CA7 san_email of another", registry.TLSSubject{Email: "x@acme.test"}, exchange.InvalidClient},
	} {
		t.Run(c.name, func(t *testing.T) { // in turn: each is another registration
			change(t, w, func(d *registry.Document, a *registry.Agent) { d.ClientCAs, a.TLSClientAuth = ca.pem(), &c.subject })
			want(t, withCredential(t, w, byCertificates(w, leaf)), c.want)
		})
	}
}

// TestTLSClientAuthRefuses: CA7, a certificate that is not one of an authority of the org for clients, or not this agent's.
func TestTLSClientAuthRefuses(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	ca, foreign := newAuthority(t, "acme CA"), newAuthority(t, "acme CA")
	named := func(c *x509.Certificate) { c.DNSNames = []string{"orchestrator.acme.test"} }
	change(t, w, func(d *registry.Document, a *registry.Agent) {
		d.ClientCAs, a.TLSClientAuth = ca.pem(), &registry.TLSSubject{DNS: "orchestrator.acme.test"}
	})
	with := func(more func(*x509.Certificate)) *x509.Certificate {
		return ca.leaf(t, func(c *x509.Certificate) { named(c); more(c) })
	}
	middle := newECKey(t, elliptic.P256())
	intermediate := authority{certify(t, &x509.Certificate{
		SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "middle"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, ca.certificate, &middle.PublicKey, ca.key), middle}
	good, below := ca.leaf(t, named), intermediate.leaf(t, named)
	other := byCertificates(w, good)
	other.ClientID = w.Researcher.ClientID
	nobody := byCertificates(w, good)
	nobody.ClientID = ""
	for name, c := range map[string]struct {
		cred exchange.Credential
		want exchange.Reason
	}{
		"CA7 the agent's own":                       {byCertificates(w, good), ""},
		"CA7 by way of an intermediate":             {byCertificates(w, below, intermediate.certificate), ""},
		"CA7 the intermediate is missing":           {byCertificates(w, below), exchange.InvalidClient},
		"CA7 no client_id":                          {nobody, exchange.InvalidClient},
		"CA7 another agent's client_id":             {other, exchange.InvalidClient},
		"CA7 an authority of the same name":         {byCertificates(w, foreign.leaf(t, named)), exchange.InvalidClient},
		"CA7 the authority behind a stranger":       {byCertificates(w, foreign.leaf(t, named), ca.certificate), exchange.InvalidClient},
		"CA7 the authority itself":                  {byCertificates(w, ca.certificate), exchange.InvalidClient},
		"CA7 for servers":                           {byCertificates(w, with(forServers)), exchange.InvalidClient},
		"CA7 for nothing in particular":             {byCertificates(w, with(func(c *x509.Certificate) { c.ExtKeyUsage = nil })), exchange.InvalidClient},
		"CA7 expired":                               {byCertificates(w, with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), exchange.InvalidClient},
		"CA7 from the future":                       {byCertificates(w, with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), exchange.InvalidClient},
		"CA7 a name below the registered one":       {byCertificates(w, ca.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"a.orchestrator.acme.test"} })), exchange.InvalidClient},
		"CA7 eleven certificates":                   {byCertificates(w, good, good, good, good, good, good, good, good, good, good, good), exchange.InvalidClient},
		"CA7 client_id of an org that is not there": {exchange.Credential{ClientID: "nowhere.agent", Certificates: []*x509.Certificate{good}}, exchange.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, withCredential(t, w, c.cred), c.want)
		})
	}
}

func forServers(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

// TestSelfSignedTLSClientAuth: CA7, the very certificate that is registered as x5c, while it is valid; no chain is looked at.
func TestSelfSignedTLSClientAuth(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	key := newECKey(t, elliptic.P256())
	public, err := jose.NewKey("tls", jose.ES256, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	registered := certify(t, clientTemplate(), clientTemplate(), &key.PublicKey, key)
	renewed := certify(t, clientTemplate(), clientTemplate(), &key.PublicKey, key)
	change(t, w, func(_ *registry.Document, a *registry.Agent) { a.JWKS = withX5C(t, public, registered) })
	want(t, withCredential(t, w, byCertificates(w, registered)), "")
	want(t, withCredential(t, w, byCertificates(w, renewed)), exchange.InvalidClient) // the same key, another certificate
	as := byCertificates(w, registered)
	as.ClientID = w.Researcher.ClientID
	want(t, withCredential(t, w, as), exchange.InvalidClient)
	w.Advance(t, 2*time.Hour)
	want(t, withCredential(t, w, byCertificates(w, registered)), exchange.InvalidClient)
}

// TestOneMechanism: TE11, a certificate beside another credential neither helps nor harms.
func TestOneMechanism(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	ca := newAuthority(t, "acme CA")
	change(t, w, func(d *registry.Document, a *registry.Agent) {
		d.ClientCAs, a.TLSClientAuth = ca.pem(), &registry.TLSSubject{DNS: "orchestrator.acme.test"}
	})
	own := ca.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"orchestrator.acme.test"} })
	stray := newAuthority(t, "nobody").leaf(t, func(*x509.Certificate) {})
	with := func(cred exchange.Credential, leaf *x509.Certificate) exchange.Credential {
		cred.Certificates = []*x509.Certificate{leaf}
		return cred
	}
	wrong := exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: "wrong"}
	both := w.Orchestrator.AssertionCredential(t, w, nil)
	both.ClientID, both.Secret = w.Orchestrator.ClientID, telemetry.Secret(w.Orchestrator.Secret)
	for name, c := range map[string]struct {
		cred exchange.Credential
		want exchange.Reason
	}{
		"TE11 a secret and a certificate of nobody":         {with(w.Orchestrator.Credential(), stray), ""},
		"TE11 an assertion and a certificate of nobody":     {with(w.Orchestrator.AssertionCredential(t, w, nil), stray), ""},
		"TE11 a wrong secret and the agent's certificate":   {with(wrong, own), exchange.InvalidClient},
		"TE11 a bad assertion and the agent's certificate":  {with(exchange.Credential{ClientID: w.Orchestrator.ClientID, Assertion: "a.b.c"}, own), exchange.InvalidClient},
		"TE11 a secret and an assertion":                    {both, exchange.InvalidClient},
		"TE11 a secret, an assertion and a certificate":     {with(both, own), exchange.InvalidClient},
		"TE11 the certificate alone":                        {byCertificates(w, own), ""},
		"TE9 nothing at all":                                {exchange.Credential{ClientID: w.Orchestrator.ClientID}, exchange.InvalidClient},
		"TE9 an assertion of a type that nobody knows":      {exchange.Credential{Assertion: "a.b.c", AssertionType: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, exchange.InvalidClient},
		"CA2 the client's secret":                           {w.Orchestrator.Credential(), ""},
		"CA1 a secret with a colon, a percent and a plus":   {exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: "a:b%c+d"}, exchange.InvalidClient},
		"CA1 a client_id with a colon, a percent or a plus": {exchange.Credential{ClientID: "acme.a:b%c+d", Secret: "x"}, exchange.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, withCredential(t, w, c.cred), c.want)
		})
	}
}
