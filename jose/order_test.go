package jose_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/onbehalf/obo/jose"
)

// TestKeyOfSmallOrder: DP1, JW15. Anybody makes a signature that fits an Ed25519 key of small order, without a private key: a
// token that is bound to one is bound to nobody.
func TestKeyOfSmallOrder(t *testing.T) {
	t.Parallel()
	const zeros = "00000000000000000000000000000000000000000000000000000000"
	const ones = "ffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	for _, point := range []string{
		"00000000" + zeros, "00000000" + zeros[:54] + "80", "01000000" + zeros, "01000000" + zeros[:54] + "80",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"ecffffff" + ones + "7f", "ecffffff" + ones + "ff", "edffffff" + ones + "7f", "edffffff" + ones + "ff",
		"eeffffff" + ones + "7f", "eeffffff" + ones + "ff",
	} {
		t.Run("DP1 "+point[:8]+point[62:], func(t *testing.T) {
			t.Parallel()
			key, err := hex.DecodeString(point)
			if err != nil || len(key) != ed25519.PublicKeySize {
				t.Fatal(err)
			}
			proof, found := forge(key)
			if !found {
				t.Fatal("the test cannot forge, so it shows nothing")
			}
			if _, _, err := jose.ParseProof(proof); !errors.Is(err, jose.ErrHeader) {
				t.Errorf("a forged proof: %v", err)
			}
			if _, err := jose.NewKey("k", jose.EdDSA, ed25519.PublicKey(key)); !errors.Is(err, jose.ErrKey) {
				t.Errorf("the key: %v", err)
			}
		})
	}
}

// forge makes a proof with the neutral point for R and zero for S, which fits one message in eight or more.
func forge(key ed25519.PublicKey) (string, bool) {
	b64 := base64.RawURLEncoding.EncodeToString
	signature := append([]byte{1}, make([]byte, ed25519.SignatureSize-1)...)
	header := b64([]byte(`{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + b64(key) + `"}}`))
	for i := range 1000 {
		signed := header + "." + b64(fmt.Appendf(nil, `{"jti":"%d"}`, i))
		if ed25519.Verify(key, []byte(signed), signature) {
			return signed + "." + b64(signature), true
		}
	}
	return "", false
}
