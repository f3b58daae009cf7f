package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/onbehalf/obo/jose"
)

// newSigner makes a signer; RSA keys are of 2048 bits to keep tests quick.
func newSigner(t testing.TB, kid string, alg jose.Algorithm) jose.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	if alg == jose.RS256 || alg == jose.PS256 {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = jose.Generate(alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(kid, alg, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

var algorithms = []jose.Algorithm{jose.ES256, jose.EdDSA, jose.Ed25519, jose.PS256, jose.RS256}

// TestSignVerify: every algorithm signs what its own key verifies, and no key verifies another algorithm (JW1, JW2),
// save that EdDSA and Ed25519 are one (JW14).
func TestSignVerify(t *testing.T) {
	t.Parallel()
	signers := map[jose.Algorithm]jose.Signer{}
	for _, alg := range algorithms {
		signers[alg] = newSigner(t, string(alg), alg)
	}
	for _, alg := range algorithms {
		token, err := signers[alg].Sign("at+jwt", []byte(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		m, err := jose.Parse(token)
		if err != nil {
			t.Fatal(err)
		}
		if m.Algorithm() != alg || m.KeyID() != string(alg) || m.Type() != "at+jwt" || !m.Plain() {
			t.Errorf("%s: header is %s %s %s", alg, m.Algorithm(), m.KeyID(), m.Type())
		}
		payload, err := m.Verify(signers[alg].Key())
		if err != nil || string(payload) != `{"a":1}` {
			t.Errorf("%s: %q, %v", alg, payload, err)
		}
		for _, other := range algorithms {
			if other == alg {
				continue
			}
			if _, err := m.Verify(signers[other].Key()); err == nil {
				t.Errorf("%s verified with the key for %s", alg, other)
			}
		}
	}
}

// TestOneKeyOneAlgorithm (JW2): an RSA key that is published for RS256 does not verify PS256, though it could.
func TestOneKeyOneAlgorithm(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := jose.NewSigner("k", jose.PS256, key)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := jose.NewKey("k", jose.RS256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	token, err := ps.Sign("", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(rs); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("got %v, want ErrAlgorithm", err)
	}
	if _, found := jose.NewKeySet(rs).Find("k", jose.PS256); found {
		t.Error("the set gave an RS256 key for PS256")
	}
}

// TestParseRefuses: form and header (JW1, JW6 to JW9, JW16), all without a signature to check.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"alg":"ES256","kid":"k","typ":"at+jwt"}`
	token := func(header string) string { return b64(header) + "." + b64("{}") + "." + b64("sig") }
	withHeader := func(member string) string { return token(`{"alg":"ES256","kid":"k",` + member + `}`) }
	if _, err := jose.Parse(token(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"empty":                    {"", jose.ErrMalformed},
		"one part":                 {b64(good), jose.ErrMalformed},
		"two parts":                {b64(good) + "." + b64("{}"), jose.ErrMalformed},
		"five parts, JWE (JW16)":   {token(good) + ".YQ.YQ", jose.ErrMalformed},
		"empty header":             {"." + b64("{}") + "." + b64("s"), jose.ErrMalformed},
		"empty payload":            {b64(good) + ".." + b64("s"), jose.ErrMalformed},
		"empty signature":          {b64(good) + "." + b64("{}") + ".", jose.ErrMalformed},
		"JSON serialization (JW8)": {`{"payload":"e30","signatures":[{}]}`, jose.ErrMalformed},
		"padding (JW8)":            {b64(good) + ".e30=." + b64("sig"), jose.ErrMalformed},
		"standard alphabet (JW8)":  {b64(good) + ".ey+/." + b64("sig"), jose.ErrMalformed},
		"newline (JW8)":            {b64(good) + ".e3\n0." + b64("sig"), jose.ErrMalformed},
		"carriage return (JW8)":    {b64(good) + "." + b64("{}") + "\r." + b64("sig"), jose.ErrMalformed},
		"leading space (JW8)":      {" " + token(good), jose.ErrMalformed},
		"trailing bits (JW8)":      {b64(good) + ".e31." + b64("sig"), jose.ErrMalformed},
		"too long (JW16)":          {b64(good) + "." + strings.Repeat("A", jose.MaxTokenSize) + ".YQ", jose.ErrMalformed},
		"10 MiB":                   {strings.Repeat("A", 10<<20), jose.ErrMalformed},
		"header not JSON":          {token("{"), jose.ErrHeader},
		"header an array":          {token(`["ES256"]`), jose.ErrHeader},
		"header null":              {token(`null`), jose.ErrHeader},
		"trailing JSON":            {token(good + "{}"), jose.ErrHeader},
		"duplicate alg (JW9)":      {token(`{"alg":"ES256","alg":"RS256"}`), jose.ErrHeader},
		"duplicate unknown (JW9)":  {withHeader(`"x":1,"x":2`), jose.ErrHeader},
		"no alg":                   {token(`{"kid":"k"}`), jose.ErrAlgorithm},
		"none (JW1)":               {token(`{"alg":"none"}`), jose.ErrAlgorithm},
		"noNE (JW1)":               {token(`{"alg":"noNE"}`), jose.ErrAlgorithm},
		"HS256 (JW1)":              {token(`{"alg":"HS256"}`), jose.ErrAlgorithm},
		"es256 (JW1)":              {token(`{"alg":"es256"}`), jose.ErrAlgorithm},
		"ES384":                    {token(`{"alg":"ES384"}`), jose.ErrAlgorithm},
		"ALG, other case (ACT13)":  {token(`{"ALG":"ES256"}`), jose.ErrAlgorithm},
		"alg a number":             {token(`{"alg":256}`), jose.ErrHeader},
		"alg null":                 {token(`{"alg":null}`), jose.ErrHeader},
		"kid null":                 {token(`{"alg":"ES256","kid":null}`), jose.ErrHeader},
		"kid a number":             {token(`{"alg":"ES256","kid":1}`), jose.ErrHeader},
		"kid empty":                {token(`{"alg":"ES256","kid":""}`), jose.ErrHeader},
		"kid 10 kB (JW6)":          {token(`{"alg":"ES256","kid":"` + strings.Repeat("k", 10<<10) + `"}`), jose.ErrHeader},
		"kid with newline (JW6)":   {token(`{"alg":"ES256","kid":"a\nb"}`), jose.ErrHeader},
		"typ a number":             {withHeader(`"typ":1`), jose.ErrHeader},
		"typ not ASCII":            {withHeader(`"typ":"at+jwt\u200b"`), jose.ErrHeader},
		"crit unknown (JW7)":       {withHeader(`"crit":["exp"],"exp":1`), jose.ErrHeader},
		"crit empty (JW7)":         {withHeader(`"crit":[]`), jose.ErrHeader},
		"crit null (JW7)":          {withHeader(`"crit":null`), jose.ErrHeader},
		"b64 false (JW7)":          {withHeader(`"b64":false`), jose.ErrHeader},
		"b64 true (JW7)":           {withHeader(`"b64":true`), jose.ErrHeader},
		"jku (JW6)":                {withHeader(`"jku":"https://evil.example/jwks"`), jose.ErrHeader},
		"x5u (JW6)":                {withHeader(`"x5u":"https://evil.example/cert"`), jose.ErrHeader},
		"x5c (JW6)":                {withHeader(`"x5c":["MIIB"]`), jose.ErrHeader},
		"jwk (JW6)":                {withHeader(`"jwk":{"kty":"EC"}`), jose.ErrHeader},
		"zip (JW16)":               {withHeader(`"zip":"DEF"`), jose.ErrHeader},
		"enc (JW16)":               {withHeader(`"enc":"A128GCM"`), jose.ErrHeader},
		"nested 33 deep":           {withHeader(`"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33)), jose.ErrHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := jose.Parse(c.token); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestParseTakes: what foreign issuers rightly send.
func TestParseTakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header, typ string
		plain       bool
	}{
		{`{"alg":"RS256"}`, "", true},
		{`{"alg":"RS256","typ":"JWT","kid":"k","x5t":"abc"}`, "jwt", false}, // Entra ID
		{`{"alg":"ES256","typ":"application/at+JWT"}`, "at+jwt", true},      // AT6
		{`{"alg":"ES256","typ":"AT+JWT","cty":"JWT"}`, "at+jwt", false},
		{`{"alg":"ES256","kid":"../../etc/passwd' OR 1=1 --"}`, "", true}, // a lookup key and no more (JW6)
	} {
		m, err := jose.Parse(b64(c.header) + "." + b64("{}") + "." + b64("sig"))
		if err != nil || m.Type() != c.typ || m.Plain() != c.plain {
			t.Errorf("%s: typ %q, plain %t, %v", c.header, m.Type(), m.Plain(), err)
		}
	}
}

// TestSignatureForms: ES256 signatures have one form (RFC 7518 §3.4), and a key must be there.
func TestSignatureForms(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	token, err := s.Sign("", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndexByte(token, '.')
	good, err := base64.RawURLEncoding.DecodeString(token[last+1:])
	if err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, 64)
	wrapped := append([]byte{0x30, 0x44, 0x02, 0x20}, good...)
	order := elliptic.P256().Params().N.Bytes()
	for name, signature := range map[string][]byte{
		"zero r and s (CVE-2022-21449)": zero,
		"r and s are the order":         append(append([]byte{}, order...), order...),
		"63 bytes":                      good[:63],
		"65 bytes":                      append(append([]byte{}, good...), 0),
		"ASN.1":                         wrapped,
		"s with a leading zero":         append(append(append([]byte{}, good[:32]...), 0), good[32:]...),
		"r is zero":                     append(make([]byte, 32), good[32:]...),
	} {
		m, err := jose.Parse(token[:last+1] + b64(string(signature)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Verify(s.Key()); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, err)
		}
	}
	m, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(jose.Key{}); err == nil {
		t.Error("the zero Key verified")
	}
	if _, err := (jose.Message{}).Verify(s.Key()); err == nil {
		t.Error("the zero Message verified")
	}
}

// TestInjectedClaim is GHSA-4cf7-xm37-g63h: with jwx v2 a claim NAME of a caller closes the string it is written in and
// forges other claims. Here names are written by one encoder, that quotes them.
func TestInjectedClaim(t *testing.T) {
	t.Parallel()
	const attack = `x":0,"act":{"sub":"admin"},"y`
	s := newSigner(t, "k", jose.ES256)
	payload, err := jose.Encode(map[string]any{attack: "v", "sub": "alice"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Sign("at+jwt", payload)
	if err != nil {
		t.Fatal(err)
	}
	m, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := m.Verify(s.Key())
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := jose.Decode(verified, &claims); err != nil {
		t.Fatal(err)
	}
	if _, forged := claims["act"]; forged || claims[attack] != "v" || len(claims) != 2 {
		t.Errorf("claims are %v", claims)
	}
	// The other two texts that a caller gives: the kid, that is held to an alphabet but may have quotes, and the typ.
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	evil, err := jose.NewSigner(`k","jku":"https://evil.example`, jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	if token, err = evil.Sign(`t","crit":["x`, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if m, err = jose.Parse(token); err != nil {
		t.Fatalf("a header member was injected: %v", err)
	}
	if m.KeyID() != evil.Key().KeyID() || !m.Plain() {
		t.Errorf("kid is %q", m.KeyID())
	}
	var set map[string]any
	if err := jose.Decode(jose.NewKeySet(evil.Key()).JSON(), &set); err != nil || strings.Contains(fmt.Sprint(set), "jku:") {
		t.Errorf("key set is %v, %v", set, err)
	}
}

// TestNewKeyRefuses: kinds and sizes (JW15).
func TestNewKeyRefuses(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := jose.Generate(jose.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		alg jose.Algorithm
		pub crypto.PublicKey
	}{
		"RSA 1024":        {jose.RS256, small.Public()},
		"P-384":           {jose.ES256, p384.Public()},
		"Ed25519 as EC":   {jose.ES256, ed.Public()},
		"nil":             {jose.ES256, nil},
		"nil EC":          {jose.ES256, (*ecdsa.PublicKey)(nil)},
		"unknown alg":     {"HS256", []byte("secret")},
		"a private key":   {jose.EdDSA, ed},
		"empty EC key":    {jose.ES256, &ecdsa.PublicKey{}},
		"off-curve point": {jose.ES256, &ecdsa.PublicKey{Curve: elliptic.P256()}},
	} {
		if _, err := jose.NewKey("k", c.alg, c.pub); !errors.Is(err, jose.ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
}
