package dpop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

// TestOthersReadOurs: DP1: a library that is neither ours nor jwx finds in our proof a public key by which it verifies, of the
// thumbprint that we say.
func TestOthersReadOurs(t *testing.T) {
	t.Parallel()
	for alg, name := range map[jose.Algorithm]gojose.SignatureAlgorithm{jose.ES256: gojose.ES256, jose.EdDSA: gojose.EdDSA, jose.PS256: gojose.PS256} {
		t.Run("DP1 "+string(alg), func(t *testing.T) {
			t.Parallel()
			key, err := jose.Generate(alg)
			if err != nil {
				t.Fatal(err)
			}
			prover, err := dpop.NewProver(key, at(noon))
			if err != nil {
				t.Fatal(err)
			}
			proof, err := prover.Proof("POST", tokenEndpoint+"?x", "n", rfcToken)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := jwt.ParseSigned(proof, []gojose.SignatureAlgorithm{name})
			if err != nil {
				t.Fatal(err)
			}
			header := parsed.Headers[0]
			if header.ExtraHeaders[gojose.HeaderType] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() || header.KeyID != "" {
				t.Fatalf("header %v", header)
			}
			var c map[string]any
			if err := parsed.Claims(header.JSONWebKey.Key, &c); err != nil {
				t.Fatal(err)
			}
			sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
			if err != nil || base64.RawURLEncoding.EncodeToString(sum) != prover.Thumbprint() {
				t.Errorf("thumbprint %x, %v", sum, err)
			}
			if len(c) != 6 || c["htm"] != "POST" || c["htu"] != tokenEndpoint || c["nonce"] != "n" || c["ath"] != "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" ||
				c["iat"] != float64(noon.Unix()) || c["jti"] == "" {
				t.Errorf("claims %v", c)
			}
		})
	}
}

// TestWeReadOthers: DP1: a proof of another library is as good.
func TestWeReadOthers(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.ES256, Key: key}, (&gojose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := jwt.Signed(signer).Claims(map[string]any{"jti": "j", "htm": "POST", "htu": tokenEndpoint, "iat": noon.Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	p, err := newChecker(t, dpop.Config{}).Check(dpop.Request{Proofs: []string{proof}, Method: "POST", URI: tokenEndpoint})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := (&gojose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil || p.JKT != base64.RawURLEncoding.EncodeToString(sum) {
		t.Errorf("thumbprint %s, %v", p.JKT, err)
	}
}
