package registry

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/onbehalf/obo/jose"
)

// subject is a TLSSubject, made ready to compare.
type subject struct {
	TLSSubject
	dn string     // of DN, normal
	ip netip.Addr // of IP
}

func newSubject(t TLSSubject) (*subject, error) {
	s := &subject{TLSSubject: t}
	var err error
	if t.DN != "" {
		if s.dn, err = normalDN(t.DN); err != nil {
			return nil, err
		}
	}
	if t.IP != "" {
		if s.ip, err = netip.ParseAddr(t.IP); err != nil {
			return nil, fmt.Errorf("san_ip: %w", err)
		}
	}
	return s, nil
}

// TLSClientAuth reports whether the agent is registered for tls_client_auth.
func (c *Client) TLSClientAuth() bool { return c.subject != nil }

// parseCAs reads a bundle of PEM certificates, each of which must be a CA's.
func parseCAs(text string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	rest := []byte(text)
	for n := 0; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if n == 0 || len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("want PEM certificates and nothing else")
			}
			return pool, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is not a certificate", n+1)
		}
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("certificate %d (%s) is not a certificate authority's", n+1, clip(c.Subject.String()))
		}
		pool.AddCert(c)
	}
}

// certificates are the fingerprints of the first certificate of each x5c of a JWK set (RFC 8705 §2.2.2).
func certificates(jwks []byte) ([][32]byte, error) {
	var set struct {
		Keys []struct {
			X5C []string `json:"x5c"`
		} `json:"keys"`
	}
	if err := jose.Decode(jwks, &set); err != nil {
		return nil, err
	}
	var out [][32]byte
	for _, k := range set.Keys {
		if len(k.X5C) == 0 {
			continue
		}
		der, err := base64.StdEncoding.Strict().DecodeString(k.X5C[0]) // RFC 7517 §4.7: not base64url
		if err != nil {
			return nil, errors.New("x5c is not base64")
		}
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, errors.New("x5c is not a certificate")
		}
		out = append(out, sha256.Sum256(der))
	}
	return out, nil
}

// ClientCAs are who issues certificates for tls_client_auth; nil when there are none.
func (o *Org) ClientCAs() *x509.CertPool { return o.clientCAs }

// Presents reports whether a certificate has the one subject that the agent is registered with (RFC 8705 §2.1.2). Names of
// hosts are compared without regard to case, addresses as numbers, everything else byte for byte.
func (c *Client) Presents(leaf *x509.Certificate) bool {
	s := c.subject
	if s == nil {
		return false
	}
	switch {
	case s.DN != "":
		dn, err := certificateDN(leaf)
		return err == nil && dn == s.dn
	case s.DNS != "":
		return slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, s.DNS) })
	case s.URI != "":
		return slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return u.String() == s.URI })
	case s.Email != "":
		return slices.Contains(leaf.EmailAddresses, s.Email)
	case s.ip.IsValid():
		return slices.ContainsFunc(leaf.IPAddresses, func(ip net.IP) bool {
			a, ok := netip.AddrFromSlice(ip)
			return ok && a == s.ip
		})
	}
	return false
}
