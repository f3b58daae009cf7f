package delegation

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
)

// Possession is what the caller of a request has proven beside its token. The zero Possession is a bearer's.
type Possession struct {
	JKT string // thumbprint of the key of a DPoP proof that was made for this request and this token (RFC 9449 §7.1)
	X5T string // thumbprint of the TLS connection's client certificate (RFC 8705 §3)
}

// CertificateThumbprint is the "x5t#S256" of a certificate: SHA-256 of its DER, base64url without padding (MT1). It is
// empty for nil.
func CertificateThumbprint(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// provenBy reports whether a caller who has proven p may use a token with this binding. What the token is bound to must be
// proven. A certificate may be there without meaning, since TLS asks for one before any token is seen; a DPoP proof is made
// for a token, and only for one that is bound to its key (DP6).
func (k *Confirmation) provenBy(p Possession) bool {
	if k == nil {
		return p.JKT == ""
	}
	return k.JKT == p.JKT && (k.X5T == "" || k.X5T == p.X5T)
}
