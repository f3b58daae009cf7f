package delegation_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// object is a JSON object under construction.
type object = map[string]any

// forge makes vectors: it signs any header over any payload, as no code of ours will.
type forge struct {
	t     *testing.T
	keys  map[string]crypto.Signer
	jwks  vectorKeySet
	good  []vector
	evil  []vector
	stamp int64
}

const sharedSecret = "a symmetric key that should never have been published"

func newForge(t *testing.T) *forge {
	f := &forge{t: t, keys: map[string]crypto.Signer{}, stamp: noon.Unix()}
	f.generate("es", jose.ES256, nil)
	f.generate("ed", jose.EdDSA, nil)
	f.generate("ed2", jose.Ed25519, nil)
	f.generate("ps", jose.PS256, nil)
	f.generate("rs", jose.RS256, nil)
	f.generate("noalg", jose.ES256, func(jwk object) { delete(jwk, "alg") })
	f.generate("enc", jose.ES256, func(jwk object) { jwk["use"] = "enc" })
	f.generate("future", jose.ES256, func(jwk object) { jwk["kty"] = "AKP" })
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	f.keys["weak"] = weak
	f.jwks.Keys = append(f.jwks.Keys,
		object{"kty": "RSA", "kid": "weak", "alg": "RS256", "use": "sig", "e": "AQAB", "n": b64(weak.N.Bytes())},
		object{"kty": "oct", "kid": "oct", "alg": "HS256", "use": "sig", "k": b64([]byte(sharedSecret))})
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.keys["stranger"] = stranger // in no key set
	return f
}

// generate makes a key and publishes it.
func (f *forge) generate(kid string, alg jose.Algorithm, change func(object)) {
	f.t.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		f.t.Fatal(err)
	}
	public, err := jose.NewKey(kid, alg, key.Public())
	if err != nil {
		f.t.Fatal(err)
	}
	var jwk object
	if err := json.Unmarshal(public.JSON(), &jwk); err != nil {
		f.t.Fatal(err)
	}
	if change != nil {
		change(jwk)
	}
	f.keys[kid] = key
	f.jwks.Keys = append(f.jwks.Keys, jwk)
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// claims are those of a good token; a nil value in change takes one away.
func (f *forge) claims(change object) object {
	c := object{
		"iss": "https://sts.example", "aud": "https://executor.example", "sub": "user:acme/okta|00u1", "client_id": "acme.orchestrator",
		"org_id": "acme", "scope": "github:issues:read github:issues:write", "iat": f.stamp, "exp": f.stamp + 300, "jti": "jti-2", "txn": "txn-1",
		"act": f.chain("researcher", "orchestrator"), "lineage": []string{"jti-1"},
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (f *forge) chain(agents ...string) object {
	if len(agents) == 0 {
		return nil
	}
	a := object{"iss": "https://sts.example", "sub": "agent:acme/" + agents[0]}
	if inner := f.chain(agents[1:]...); inner != nil {
		a["act"] = inner
	}
	return a
}

func (f *forge) text(v any) string {
	f.t.Helper()
	if s, ok := v.(string); ok {
		return s
	}
	data, err := jose.Encode(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

// token signs a payload with the key under its own honest header.
func (f *forge) token(kid string, payload any) string {
	return f.tokenWith(kid, `{"alg":"`+f.algorithm(kid)+`","kid":"`+kid+`","typ":"at+jwt"}`, payload)
}

// tokenWith signs header and payload, which are objects or text, with the key.
func (f *forge) tokenWith(kid string, header, payload any) string {
	signed := b64([]byte(f.text(header))) + "." + b64([]byte(f.text(payload)))
	return signed + "." + b64(f.signature(kid, f.text(header), signed))
}

func (f *forge) algorithm(kid string) string {
	for _, jwk := range f.jwks.Keys {
		if alg, ok := jwk["alg"].(string); ok && jwk["kid"] == kid {
			return alg
		}
	}
	return "ES256"
}

func (f *forge) signature(kid, header, signed string) []byte {
	f.t.Helper()
	sum := sha256.Sum256([]byte(signed))
	var out []byte
	var err error
	switch key := f.keys[kid].(type) {
	case *ecdsa.PrivateKey:
		r, s, failure := ecdsa.Sign(rand.Reader, key, sum[:])
		if failure != nil {
			f.t.Fatal(failure)
		}
		out = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		out = ed25519.Sign(key, []byte(signed))
	case *rsa.PrivateKey:
		if strings.Contains(header, `"PS256"`) {
			out, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			out, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		}
	default:
		f.t.Fatalf("no key %q", kid)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func hmacOver(secret []byte, signed string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// isGood adds a good vector of the claims with a change.
func (f *forge) isGood(name, rule, why string, change object) {
	f.isGoodToken(name, rule, why, f.token("es", f.claims(change)))
}

// isGoodToken adds a good vector. What it says is filled in when all are written, by reading its payload plainly.
func (f *forge) isGoodToken(name, rule, why, token string) {
	f.t.Helper()
	f.good = append(f.good, vector{Name: name, Rule: rule, Why: why, Token: token, Says: f.says(token)})
}

// says reads a good token with the standard library, not with the code under test.
func (f *forge) says(token string) *vectorSays {
	f.t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		f.t.Fatal(err)
	}
	var c object // a map: encoding/json would fit Act to a field act
	if err := json.Unmarshal(payload, &c); err != nil {
		f.t.Fatal(err)
	}
	text := func(o object, name string) string {
		s, _ := o[name].(string)
		return s
	}
	exp, _ := c["exp"].(float64)
	s := &vectorSays{Subject: text(c, "sub"), Org: text(c, "org_id"), Scope: strings.Fields(text(c, "scope")), Expiry: int64(exp)}
	for a, ok := c["act"].(object); ok; a, ok = a["act"].(object) {
		s.Chain = append(s.Chain, text(a, "sub"))
	}
	return s
}

// isEvil adds an evil vector of the claims with a change, signed as a good one is.
func (f *forge) isEvil(name, rule, failure, why string, change object) {
	f.isEvilToken(name, rule, failure, why, f.token("es", f.claims(change)))
}

func (f *forge) isEvilToken(name, rule, failure, why, token string) {
	f.evil = append(f.evil, vector{Name: name, Rule: rule, Why: why, Token: token, Error: failure})
}

func writeVectors(t *testing.T) {
	t.Helper()
	f := newForge(t)
	f.makeGood()
	f.makeEvilForms()
	f.makeEvilHeaders()
	f.makeEvilSignatures()
	f.makeEvilClaims()
	f.makeEvilTimes()
	f.makeEvilChains()
	f.makeEvilRest()
	for name, vectors := range map[string][]vector{"good.json": f.good, "evil.json": f.evil} {
		data, err := json.MarshalIndent(vectorFile{
			Issuer: "https://sts.example", Audience: "https://executor.example", Now: noon.Format("2006-01-02T15:04:05Z07:00"),
			LeewaySeconds: 5, MaxDepth: delegation.MaxDepth, JWKS: f.jwks, Vectors: vectors,
		}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "vectors", name)
		if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
