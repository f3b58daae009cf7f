package dpop_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// The samples of RFC 9449: the proofs of §4.1 and §7.1, the token of §7.1, and the thumbprint of their key (§6.1).
const (
	rfcHeader = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo" +
		"RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfcTokenProof = rfcHeader + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2V" +
		"uIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcResourceProof = rfcHeader + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90" +
		"ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9." +
		"2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfcToken      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

// TestSamplesOfTheRFC: DP1, DP2, DP3, DP6: what RFC 9449 prints, at its time, and nothing beside it.
func TestSamplesOfTheRFC(t *testing.T) {
	t.Parallel()
	token := dpop.Request{Proofs: []string{rfcTokenProof}, Method: "POST", URI: "https://server.example.com/token"}
	resource := dpop.Request{
		Proofs: []string{rfcResourceProof}, Method: "GET", URI: "https://resource.example.org/protectedresource", Token: rfcToken,
	}
	for name, c := range map[string]struct {
		request dpop.Request
		change  func(*dpop.Request)
		now     int64
		ok      bool
	}{
		"section 4.1":                  {token, nil, 1562262616, true},
		"section 4.1, 59 s later":      {token, nil, 1562262675, true},
		"DP3 section 4.1, 60 s later":  {token, nil, 1562262676, false},
		"section 4.1, 10 s ahead":      {token, nil, 1562262606, true},
		"JW11 section 4.1, 11 s ahead": {token, nil, 1562262605, false},
		"section 7.1":                  {resource, nil, 1562262618, true},
		"DP2 section 7.1 with a query": {resource, func(r *dpop.Request) { r.URI += "?a=b" }, 1562262618, true},
		"DP2 as another method":        {resource, func(r *dpop.Request) { r.Method = "POST" }, 1562262618, false},
		"DP2 method in lower case":     {resource, func(r *dpop.Request) { r.Method = "get" }, 1562262618, false},
		"DP2 at another path":          {resource, func(r *dpop.Request) { r.URI += "/x" }, 1562262618, false},
		"DP2 at another host":          {resource, func(r *dpop.Request) { r.URI = "https://evil.example/protectedresource" }, 1562262618, false},
		"DP6 with another token":       {resource, func(r *dpop.Request) { r.Token += "x" }, 1562262618, false},
		"DP6 with a token, no ath":     {token, func(r *dpop.Request) { r.Token = rfcToken }, 1562262616, false},
		"DP1 none":                     {token, func(r *dpop.Request) { r.Proofs = nil }, 1562262616, false},
		"DP1 two":                      {token, func(r *dpop.Request) { r.Proofs = []string{rfcTokenProof, rfcTokenProof} }, 1562262616, false},
		"DP1 two in one header":        {token, func(r *dpop.Request) { r.Proofs[0] = rfcTokenProof + ", " + rfcTokenProof }, 1562262616, false},
		"DP1 empty":                    {token, func(r *dpop.Request) { r.Proofs[0] = "" }, 1562262616, false},
		"DP1 signature of the other": {token, func(r *dpop.Request) {
			r.Proofs[0] = rfcTokenProof[:strings.LastIndexByte(rfcTokenProof, '.')] + rfcResourceProof[strings.LastIndexByte(rfcResourceProof, '.'):]
		}, 1562262616, false},
		"DP1 too long": {token, func(r *dpop.Request) { r.Proofs[0] += strings.Repeat("A", 8<<10) }, 1562262616, false},
		"no method":    {token, func(r *dpop.Request) { r.Method = "" }, 1562262616, false},
		"no URI":       {token, func(r *dpop.Request) { r.URI = "" }, 1562262616, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.request
			r.Proofs = append([]string(nil), r.Proofs...)
			if c.change != nil {
				c.change(&r)
			}
			p, err := newChecker(t, dpop.Config{Now: at(time.Unix(c.now, 0))}).Check(r)
			switch {
			case c.ok && (err != nil || p.JKT != rfcThumbprint):
				t.Errorf("%v, thumbprint %q", err, p.JKT)
			case !c.ok && (!errors.Is(err, dpop.ErrProof) || p != dpop.Proof{}):
				t.Errorf("got %v and %v, want ErrProof and nothing", err, p)
			}
		})
	}
}

func newChecker(t testing.TB, config dpop.Config) *dpop.Checker {
	t.Helper()
	if config.Now == nil {
		config.Now = at(noon)
	}
	c, err := dpop.NewChecker(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newSigner(t testing.TB, alg jose.Algorithm) jose.Signer {
	t.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner("k", alg, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const tokenEndpoint = "https://as.example/token"

// proofOf signs the claims of a good proof of noon with a change; a nil takes a claim away.
func proofOf(t testing.TB, s jose.Signer, change map[string]any) string {
	t.Helper()
	c := map[string]any{"jti": "j", "htm": "POST", "htu": tokenEndpoint, "iat": noon.Unix()}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, s, string(payload))
}

func sign(t testing.TB, s jose.Signer, payload string) string {
	t.Helper()
	proof, err := s.SignProof([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// TestClaims: each claim by itself, signed as a good proof is.
func TestClaims(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.ES256)
	type object = map[string]any
	now := noon.Unix()
	for name, c := range map[string]struct {
		change object
		ok     bool
	}{
		"good":                           {nil, true},
		"DP1 claims that are not ours":   {object{"exp": 1, "sub": "x"}, true},
		"DP1 no jti":                     {object{"jti": nil}, false},
		"DP1 no htm":                     {object{"htm": nil}, false},
		"DP1 no htu":                     {object{"htu": nil}, false},
		"DP1 no iat":                     {object{"iat": nil}, false},
		"DP1 empty jti":                  {object{"jti": ""}, false},
		"DP1 jti a number":               {object{"jti": 1}, false},
		"DP1 htm an array":               {object{"htm": []string{"POST"}}, false},
		"DP1 htu an array":               {object{"htu": []string{tokenEndpoint}}, false},
		"DP1 iat a string":               {object{"iat": "1795348800"}, false},
		"DP1 iat negative":               {object{"iat": -1}, false},
		"DP1 iat of the year 10000":      {object{"iat": 253402300800}, false},
		"DP1 iat too great for a number": {object{"iat": json.RawMessage("1e999")}, false},
		"JW10 iat with a fraction":       {object{"iat": float64(now) + 0.5}, true},
		"DP3 a jti of 256 bytes":         {object{"jti": strings.Repeat("j", 256)}, true},
		"DP3 a jti of 257 bytes":         {object{"jti": strings.Repeat("j", 257)}, false},
		"DP3 a minute old":               {object{"iat": now - 60}, false},
		"DP3 almost a minute old":        {object{"iat": now - 59}, true},
		"JW11 10 s ahead":                {object{"iat": now + 10}, true},
		"JW11 11 s ahead":                {object{"iat": now + 11}, false},
		"DP2 htm in lower case":          {object{"htm": "post"}, false},
		"DP2 htm of another request":     {object{"htm": "GET"}, false},
		"DP2 htu with a query":           {object{"htu": tokenEndpoint + "?a=b"}, false},
		"DP2 htu with a fragment":        {object{"htu": tokenEndpoint + "#a"}, false},
		"DP2 htu without scheme":         {object{"htu": "as.example/token"}, false},
		"DP2 htu in another spelling":    {object{"htu": "HTTPS://AS.example:443/x/../%74oken"}, true},
		"DP4 a nonce nobody asked for":   {object{"nonce": "x"}, true},
		"DP1 ACT13 JTI in capitals":      {object{"jti": nil, "JTI": "j"}, false},
		"DP6 an ath, and no token":       {object{"ath": "x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dpop.Request{Proofs: []string{proofOf(t, s, c.change)}, Method: "POST", URI: tokenEndpoint}
			_, err := newChecker(t, dpop.Config{}).Check(r)
			if c.ok != (err == nil) || err != nil && !errors.Is(err, dpop.ErrProof) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPayloads: DP1, JW9: claims are one JSON object with one meaning.
func TestPayloads(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.Ed25519)
	const good = `{"jti":"j","htm":"POST","htu":"https://as.example/token","iat":1795348800}`
	for payload, ok := range map[string]bool{
		good: true, `null`: false, `[]`: false, `"x"`: false, `{}`: false, good + good: false, good[:20]: false,
		strings.Replace(good, `{`, `{"jti":"other",`, 1): false, strings.Replace(good, `"j"`, `null`, 1): false,
	} {
		_, err := newChecker(t, dpop.Config{}).Check(dpop.Request{Proofs: []string{sign(t, s, payload)}, Method: "POST", URI: tokenEndpoint})
		if ok != (err == nil) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// TestOtherKindsAreNoProofs: JW4: a token of ours that is signed by the client's own key is no proof, whatever it says.
func TestOtherKindsAreNoProofs(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.ES256)
	for _, typ := range strings.Fields("at+jwt txntoken+jwt oauth-id-jag+jwt secevent+jwt wit+jwt wpt+jwt client-authentication+jwt JWT dpop+jwt") {
		token, err := s.Sign(typ, []byte(`{"jti":"j","htm":"POST","htu":"https://as.example/token","iat":1795348800}`))
		if err != nil {
			t.Fatal(err)
		}
		_, err = newChecker(t, dpop.Config{}).Check(dpop.Request{Proofs: []string{token}, Method: "POST", URI: tokenEndpoint})
		if !errors.Is(err, dpop.ErrProof) { // of the last one, because it brings no key
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// TestKeyOfAProof: DP3: the jti is tracked by target URI and key, and the time covers the window on every clock.
func TestKeyOfAProof(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.ES256)
	checker := newChecker(t, dpop.Config{})
	key := func(s jose.Signer, change map[string]any, uri string) dpop.Proof {
		p, err := checker.Check(dpop.Request{Proofs: []string{proofOf(t, s, change)}, Method: "POST", URI: uri})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := key(s, nil, tokenEndpoint)
	if want := noon.Add(70 * time.Second); !first.Until().Equal(want) {
		t.Errorf("may be forgotten at %s, want %s", first.Until(), want)
	}
	spelled := map[string]any{"htu": "HTTPS://as.example:443/./token", "iat": noon.Unix() - 5}
	if key(s, spelled, tokenEndpoint+"?x=y").Key() != first.Key() {
		t.Error("another spelling of the URI, or another time, is another use")
	}
	for name, other := range map[string]dpop.Proof{
		"jti": key(s, map[string]any{"jti": "k"}, tokenEndpoint),
		"URI": key(s, map[string]any{"htu": tokenEndpoint + "2"}, tokenEndpoint+"2"),
		"key": key(newSigner(t, jose.ES256), nil, tokenEndpoint),
	} {
		if other.Key() == first.Key() {
			t.Errorf("the %s does not count", name)
		}
	}
	// Parts do not run into each other.
	a := key(s, map[string]any{"htu": "https://as.example/a", "jti": "bc"}, "https://as.example/a")
	b := key(s, map[string]any{"htu": "https://as.example/ab", "jti": "c"}, "https://as.example/ab")
	if a.Key() == b.Key() {
		t.Error("URI and jti run into each other")
	}
}

// TestErrorsHoldNothing: what is sent does not come back.
func TestErrorsHoldNothing(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.ES256)
	canary := "canary7Q"
	for _, proof := range []string{
		canary, canary + "." + canary + "." + canary, sign(t, s, `{"`+canary+`":1,"`+canary+`":2}`), sign(t, s, `{"jti":["`+canary+`"]}`),
		proofOf(t, s, map[string]any{"htm": canary}), proofOf(t, s, map[string]any{"htu": canary}),
		proofOf(t, s, map[string]any{"jti": strings.Repeat(canary, 99)}),
	} {
		_, err := newChecker(t, dpop.Config{}).Check(dpop.Request{Proofs: []string{proof}, Method: "POST", URI: tokenEndpoint})
		if err == nil || strings.Contains(err.Error(), canary) || strings.ContainsAny(err.Error(), `"\`) {
			t.Errorf("%v", err)
		}
	}
}

// TestNewChecker refuses what cannot be meant.
func TestNewChecker(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{-1, time.Hour} {
		if _, err := dpop.NewChecker(dpop.Config{Window: window}); err == nil {
			t.Errorf("a window of %s", window)
		}
	}
	if c, err := dpop.NewChecker(dpop.Config{}); err != nil || c == nil {
		t.Error(err)
	}
}

// TestAlgorithms: DP1, DP6: what a challenge lists is what a proof may be signed with, and nothing else.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	want := []jose.Algorithm{jose.ES256, jose.EdDSA, jose.Ed25519, jose.PS256, jose.RS256}
	listed := strings.Fields(dpop.Algorithms)
	if len(listed) != len(want) {
		t.Errorf("listed are %q", listed)
	}
	for n, alg := range want {
		if listed[n] != string(alg) {
			t.Errorf("%s is not listed", alg)
		}
		r := dpop.Request{Proofs: []string{proofOf(t, newSigner(t, alg), nil)}, Method: "POST", URI: tokenEndpoint}
		if _, err := newChecker(t, dpop.Config{}).Check(r); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}
