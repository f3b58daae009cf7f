package exchange

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/onbehalf/obo/exchange/registry"
)

// maxChain is how many certificates of a connection are looked at.
const maxChain = 10

// byCertificate is mutual TLS (RFC 8705 §2, CA7). The handshake proved that the peer has the leaf's key; everything else is
// judged here. client_id says whose registration the certificate is held against, and the registration says how.
func (s *Service) byCertificate(ctx context.Context, cred Credential, now time.Time) (caller, error) {
	if len(cred.Certificates) > maxChain {
		return caller{}, refuse(InvalidClient, "", nil, "the connection has more than %d certificates", maxChain)
	}
	leaf := cred.Certificates[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return caller{}, refuse(InvalidClient, "", nil, "the certificate has expired, or is from the future")
	}
	c, err := s.named(ctx, cred.ClientID, "a certificate")
	if err != nil {
		return caller{}, err
	}
	switch reg := &c.client.Registration; {
	case slices.Contains(c.client.Certificates, sha256.Sum256(leaf.Raw)):
		c.method = methodSelfSigned // no chain to check (RFC 8705 §2.2)
		return c, nil
	case reg.SPIFFEID != "" && len(leaf.URIs) > 0 && isSPIFFEID(leaf.URIs[0].String()):
		c.method, err = methodSPIFFEX509, s.checkX509SVID(c.org, cred.Certificates, reg.SPIFFEID, now)
	default:
		c.method, err = methodCertificate, checkIssued(c, cred.Certificates, now)
	}
	if err != nil {
		return caller{}, notClient("certificate", err)
	}
	return c, nil
}

// checkIssued is tls_client_auth (RFC 8705 §2.1): a chain to an authority of the org, and the one subject that is registered.
func checkIssued(c caller, chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	if c.org.ClientCAs() == nil || !c.client.Presents(leaf) {
		return flawOther
	}
	if leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return flaw("it is not for client authentication: it needs the extended key usage clientAuth, and to be no authority's")
	}
	between := x509.NewCertPool()
	for _, i := range chain[1:] {
		between.AddCert(i)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.org.ClientCAs(), Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return flawOther
	}
	return nil
}

// checkX509SVID is an X509-SVID (SPIFFE X509-SVID §5; WI3, CA10): the library checks the chain, the single URI and that the
// leaf signs no certificates; the standard asks for more.
func (s *Service) checkX509SVID(org *registry.Org, chain []*x509.Certificate, registered string, now time.Time) error {
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil || checkSPIFFEID(id) != nil {
		return flaw("it has not exactly one URI, a SPIFFE ID with a path")
	}
	domain, ok := org.TrustDomain(id.TrustDomain().Name())
	if !ok {
		return flawDomain
	}
	if _, _, err := x509svid.Verify(chain, domain.Bundle, x509svid.WithTime(now)); err != nil {
		return flawSVID
	}
	switch {
	case id.String() != registered:
		return flawOther
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return flaw("its key usage lacks digitalSignature")
	}
	return nil
}
