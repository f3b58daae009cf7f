package registry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/onbehalf/obo/jose"
)

// The limits of what vouches for workloads.
const (
	maxWorkloadIssuers = 64
	maxTrustDomains    = 32
	maxClientCAs       = 64 << 10 // bytes
	maxRules           = 16       // of an agent
	maxClaims          = 16       // of a rule
	minRSA             = 2048     // bits
)

// trust checks who vouches for the org's workloads.
func (v *validator) trust() {
	d := v.doc
	v.require(len(d.WorkloadIssuers) <= maxWorkloadIssuers, "workload_issuers",
		"has %d entries; at most %d", len(d.WorkloadIssuers), maxWorkloadIssuers)
	for i, w := range d.WorkloadIssuers[:min(len(d.WorkloadIssuers), maxWorkloadIssuers)] {
		v.workloadIssuer(i, w)
	}
	v.require(len(d.TrustDomains) <= maxTrustDomains, "trust_domains",
		"has %d entries; at most %d", len(d.TrustDomains), maxTrustDomains)
	for i, t := range d.TrustDomains[:min(len(d.TrustDomains), maxTrustDomains)] {
		v.trustDomain(i, t)
	}
	v.require(len(d.ClientCAs) <= maxClientCAs, "client_cas", "has %d bytes; at most %d", len(d.ClientCAs), maxClientCAs)
	if d.ClientCAs != "" {
		if _, err := parseCAs(d.ClientCAs); err != nil {
			v.add("client_cas", "%v: list the PEM certificates of the authorities that issue the agents' certificates", err)
		}
	}
}

func (v *validator) workloadIssuer(i int, w WorkloadIssuer) {
	path := "workload_issuers/" + label(w.Name, i)
	v.require(isLabel(w.Name), path+"/name", "must be 1 to 63 of a-z, 0-9 and hyphen")
	for _, before := range v.doc.WorkloadIssuers[:i] {
		v.require(before.Name != w.Name, path+"/name", "is used twice")
		v.require(before.URL != w.URL, path+"/url", "is registered twice: iss could not say which entry is meant")
	}
	v.url(path+"/url", w.URL)
	v.require(w.Audience == "" || isText(w.Audience), path+"/audience", "must be at most %d printable characters", maxText)
	for _, is := range v.doc.Issuers {
		v.require(is.URL != w.URL || w.Audience != "" && !slices.Contains(is.Audiences, w.Audience), path+"/audience",
			"must tell workloads from the users of issuers/%s, or a user's login would be an agent's credential: "+
				"give workloads one of their own", clip(is.Name))
	}
	v.algorithms(path, w.Algorithms)
	v.jwks(path+"/jwks", w.JWKS)
	if set, err := jose.ParseKeySet(w.JWKS); len(w.JWKS) > 0 && err == nil {
		v.require(len(set.Keys()) > 0, path+"/jwks", "has no keys: list them, or leave jwks out for discovery")
	}
}

func (v *validator) trustDomain(i int, t TrustDomain) {
	path := "trust_domains/" + label(t.Name, i)
	if _, err := trustDomain(t.Name); err != nil {
		v.add(path+"/name", "%v", err)
		return
	}
	for _, before := range v.doc.TrustDomains[:i] {
		v.require(before.Name != t.Name, path+"/name", "is registered twice")
	}
	d, err := newDomain(t)
	if err != nil {
		v.add(path+"/bundle", "must be a SPIFFE bundle, a JWK set whose keys have the use x509-svid or jwt-svid, "+
			"as `spire-server bundle show -format spiffe` prints it: %s", clip(err.Error()))
		return
	}
	authorities, keys := d.Bundle.X509Authorities(), d.Bundle.JWTAuthorities()
	v.require(len(authorities)+len(keys) > 0, path+"/bundle",
		"has no key with the use x509-svid or jwt-svid: nobody could be verified with it")
	for _, c := range authorities {
		v.require(c.IsCA, path+"/bundle", "the certificate of %s is not a certificate authority's", clip(c.Subject.String()))
	}
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		v.require(strongPublic(keys[kid]), path+"/bundle",
			"key %q must be public, an elliptic curve or RSA of at least %d bits (JWT-SVID section 2.1 has no EdDSA)", clip(kid), minRSA)
	}
}

func strongPublic(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return true
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSA
	}
	return false
}

// presents checks the agent's certificate and SPIFFE ID.
func (v *validator) presents(path string, a Agent) {
	if t := a.TLSClientAuth; t != nil {
		v.tlsSubject(path+"/tls_client_auth", *t)
		v.require(v.doc.ClientCAs != "", path+"/tls_client_auth", "needs client_cas: who issues the certificate (RFC 8705 section 2.1)")
	}
	if a.SPIFFEID == "" {
		return
	}
	id, err := spiffeid.FromString(a.SPIFFEID)
	if err != nil || id.Path() == "" || len(a.SPIFFEID) > maxURL {
		v.add(path+"/spiffe_id", "must be a workload's SPIFFE ID such as spiffe://acme.example/researcher, of at most %d bytes", maxURL)
		return
	}
	name := id.TrustDomain().Name()
	known := slices.ContainsFunc(v.doc.TrustDomains, func(t TrustDomain) bool { return t.Name == name })
	v.require(known, path+"/spiffe_id", "its trust domain %q is not in trust_domains: register it with its bundle", clip(name))
	v.require(!v.spiffeIDs[a.SPIFFEID], path+"/spiffe_id", "is another agent's too: it could not say which is meant")
	v.spiffeIDs[a.SPIFFEID] = true
}

func (v *validator) tlsSubject(path string, t TLSSubject) {
	set := 0
	for _, value := range []string{t.DN, t.DNS, t.URI, t.IP, t.Email} {
		if value != "" {
			set++
		}
		v.require(len(value) <= 1024, path, "has a value of more than 1024 bytes")
	}
	v.require(set == 1, path, "must have exactly one of subject_dn, san_dns, san_uri, san_ip, san_email (RFC 8705 section 2.1.2)")
	if t.DN != "" {
		if _, err := normalDN(t.DN); err != nil {
			v.add(path+"/subject_dn", "%v", err)
		}
	}
	v.require(t.DNS == "" || isText(t.DNS) && !strings.ContainsAny(t.DNS, "* /:@"), path+"/san_dns",
		"must be one host name, without wildcard")
	if t.URI != "" {
		u, err := url.Parse(t.URI)
		v.require(err == nil && u.IsAbs() && u.String() == t.URI, path+"/san_uri",
			"must be an absolute URI, as it stands in the certificate")
		v.require(!strings.HasPrefix(t.URI, "spiffe://"), path+"/san_uri", "is a SPIFFE ID: register it as spiffe_id")
	}
	if t.IP != "" {
		ip, err := netip.ParseAddr(t.IP)
		v.require(err == nil && ip.Zone() == "", path+"/san_ip", "must be an IP address without a zone")
	}
	v.require(t.Email == "" || isText(t.Email) && strings.Count(t.Email, "@") == 1, path+"/san_email", "must be one address")
}

// workloads checks the rules that say which tokens are the agent's.
func (v *validator) workloads(path string, a Agent) {
	path += "/workloads"
	v.require(len(a.Workloads) <= maxRules, path, "has %d rules; at most %d", len(a.Workloads), maxRules)
	for _, r := range a.Workloads {
		v.rule(path, r)
	}
}

func (v *validator) rule(path string, r WorkloadRule) {
	known := slices.ContainsFunc(v.doc.WorkloadIssuers, func(w WorkloadIssuer) bool { return w.Name == r.Issuer })
	v.require(known, path, "issuer %q is not in workload_issuers", clip(r.Issuer))
	v.require(r.Claims["sub"] != "" && len(r.Claims) <= maxClaims, path,
		"a rule needs 1 to %d claims, sub among them: without it every workload of the issuer would fit", maxClaims)
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		v.claim(path, name, r.Claims[name])
	}
}

func (v *validator) claim(path, name, value string) {
	v.require(isText(name) && !strings.HasSuffix(name, "/"), path,
		"claim %q must be a name, or a JSON pointer such as /kubernetes.io/namespace", clip(name))
	v.require(!slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, name), path,
		"claim %q is checked by itself: leave it out", clip(name))
	prefix, open := strings.CutSuffix(value, "*")
	v.require(isText(value) && !strings.Contains(prefix, "*"), path,
		"claim %q must be 1 to %d printable characters, with a * at the end only", clip(name), maxText)
	v.require(!open || prefix != "", path, "claim %q takes everything: write what it begins with", clip(name))
	// "repo:acme*" is also "repo:acme-evil", which anybody can register.
	v.require(!open || name != "sub" || strings.HasSuffix(prefix, ":") || strings.HasSuffix(prefix, "/"), path,
		"before the * of sub stands a : or a /, so that names that only begin alike do not fit")
}

// x5c wants the first certificate of each key to be of that key (RFC 7517 §4.7): a certificate of another key would be let in
// for its bytes alone.
func (v *validator) x5c(path string, jwks []byte) {
	var set struct {
		Keys []struct {
			KeyID string   `json:"kid"`
			X5C   []string `json:"x5c"`
		} `json:"keys"`
	}
	keys, err := jose.ParseKeySet(jwks)
	if len(jwks) == 0 || err != nil || jose.Decode(jwks, &set) != nil {
		return // said by jwks
	}
	if _, err := certificates(jwks); err != nil {
		v.add(path, "%v: x5c lists DER certificates in base64 (RFC 7517 section 4.7)", err)
		return
	}
	for i, k := range set.Keys {
		if len(k.X5C) == 0 || i >= len(keys.Keys()) {
			continue
		}
		der, _ := base64.StdEncoding.DecodeString(k.X5C[0]) // certificates read it
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		of, err := jose.NewKey("", keys.Keys()[i].Algorithm(), c.PublicKey)
		v.require(err == nil && of.Thumbprint() == keys.Keys()[i].Thumbprint(), path,
			"the first certificate of kid %q is of another key", clip(k.KeyID))
	}
}
