package delegation_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

// TestVerifyPossessed: what a token is bound to must be proven, and a proof must be of the token's own key, whether the token
// is new to the verifier or remembered.
func TestVerifyPossessed(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	other := strings.Repeat("A", 43)
	bind := func(k delegation.Confirmation) string {
		return i.Token(t, func(c *delegation.Claims) { c.Confirmation = &k })
	}
	bearer, toKey, toCertificate := i.Token(t, nil), bind(delegation.Confirmation{JKT: jkt}), bind(delegation.Confirmation{X5T: x5t})
	verifier := newVerifier(t, config(i))
	for name, c := range map[string]struct {
		token  string
		proven delegation.Possession
		ok     bool
	}{
		"a bearer's token, nothing proven":           {bearer, delegation.Possession{}, true},
		"MT2 a bearer's token, over mutual TLS":      {bearer, delegation.Possession{X5T: x5t}, true},
		"DP6 a bearer's token with a proof":          {bearer, delegation.Possession{JKT: jkt}, false},
		"DP6 the key of the proof":                   {toKey, delegation.Possession{JKT: jkt}, true},
		"DP6 the key of the proof, over mutual TLS":  {toKey, delegation.Possession{JKT: jkt, X5T: x5t}, true},
		"DP6 nothing proven":                         {toKey, delegation.Possession{}, false},
		"DP6 another key":                            {toKey, delegation.Possession{JKT: other}, false},
		"DP6 a certificate for a key":                {toKey, delegation.Possession{X5T: jkt}, false},
		"MT2 the certificate":                        {toCertificate, delegation.Possession{X5T: x5t}, true},
		"MT2 no certificate":                         {toCertificate, delegation.Possession{}, false},
		"MT2 MT4 another certificate":                {toCertificate, delegation.Possession{X5T: other}, false},
		"MT2 a proof for a certificate":              {toCertificate, delegation.Possession{JKT: x5t}, false},
		"DP6 the certificate, and a proof beside it": {toCertificate, delegation.Possession{JKT: jkt, X5T: x5t}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, when := range []string{"new", "remembered"} {
				v, err := verifier.VerifyPossessed(t.Context(), c.token, c.proven)
				if c.ok != (err == nil) || err != nil && !errors.Is(err, delegation.ErrBound) {
					t.Errorf("%s: got %v", when, err)
				}
				if err != nil && v.Subject() != "" {
					t.Errorf("%s: refused, and it speaks of %s", when, v.Subject())
				}
			}
		})
	}
}

// TestAcceptBound: EX5: Verify refuses what is bound, unless its caller says that it checks the proof itself; what was
// proven is held to the token even then.
func TestAcceptBound(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	token := i.Token(t, func(c *delegation.Claims) { c.Confirmation = &delegation.Confirmation{X5T: x5t} })
	own := config(i)
	own.AcceptBound = true
	if _, err := newVerifier(t, config(i)).Verify(t.Context(), token); !errors.Is(err, delegation.ErrBound) {
		t.Errorf("a bearer is let in: %v", err)
	}
	v, err := newVerifier(t, own).Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, own).VerifyPossessed(t.Context(), token, delegation.Possession{}); !errors.Is(err, delegation.ErrBound) {
		t.Errorf("AcceptBound lets somebody in who has proven nothing: %v", err)
	}
	if k := v.Confirmation(); k == nil || *k != (delegation.Confirmation{X5T: x5t}) {
		t.Fatalf("bound to %v", k)
	}
	v.Confirmation().X5T = "changed"
	if v.Confirmation().X5T != x5t {
		t.Error("whoever asks can change what was verified")
	}
	if (delegation.Verified{}).Confirmation() != nil || i.Verified(t, nil).Confirmation() != nil {
		t.Error("a binding of nothing")
	}
}

// TestCertificateThumbprint: MT1, MT4: of the DER, unpadded; a renewed certificate has another, though its name be the same.
func TestCertificateThumbprint(t *testing.T) {
	t.Parallel()
	one, two := delegationtest.Certificate(t, "agent.test"), delegationtest.Certificate(t, "agent.test")
	sum := sha256.Sum256(one.Certificate[0])
	got := delegation.CertificateThumbprint(one.Leaf)
	if got != base64.RawURLEncoding.EncodeToString(sum[:]) || len(got) != 43 {
		t.Errorf("%s", got)
	}
	if got == delegation.CertificateThumbprint(two.Leaf) || delegation.CertificateThumbprint(nil) != "" {
		t.Error("thumbprints of two certificates are one, or nil has one")
	}
	// It is what a token can be bound to.
	i := newIssuer(t)
	v, err := newVerifier(t, config(i)).VerifyPossessed(t.Context(), i.Token(t, delegationtest.BoundToCertificate(one.Leaf)), delegation.Possession{X5T: got})
	if err != nil || v.Confirmation().X5T != got {
		t.Error(err)
	}
}
