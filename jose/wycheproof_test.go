package jose_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/onbehalf/obo/jose"
)

var update = flag.Bool("update", false, "write docs/WYCHEPROOF.md anew")

// wycheproofFiles are the vectors of Project Wycheproof for what this package does.
var wycheproofFiles = []string{"json_web_signature_test.json", "json_web_crypto_test.json", "json_web_key_test.json"}

// stricter are all the vectors that the suite calls valid and that we refuse, each with the rule that makes us stricter.
var stricter = []struct {
	file string
	ids  []int
	rule string
	why  string
}{
	{"json_web_signature_test.json", []int{1, 348, 352, 357, 358, 359, 376, 377}, "JW1", "HMAC: who verifies could also sign"},
	{"json_web_signature_test.json", []int{265, 266, 267, 269, 270, 271}, "JW1", "RS384 and RS512 are not offered"},
	{"json_web_signature_test.json", []int{321, 322, 323, 326, 327, 328, 346, 350}, "JW1", "PS384 and PS512 are not offered"},
	{"json_web_signature_test.json", []int{347, 351}, "JW1", "ES512 is not offered"},
	{"json_web_signature_test.json", []int{259, 264, 268, 272, 320, 325}, "JW8", "an empty payload: a JWT has three parts, and claims"},
	{"json_web_signature_test.json", []int{372, 373}, "JW8", "a character that is not of base64url, which lax decoders pass over"},
	{"json_web_crypto_test.json", []int{1, 48}, "JW1", "HMAC: who verifies could also sign"},
	{"json_web_crypto_test.json", []int{50, 67}, "JW16", "JWE: no token of ours is encrypted, and none is taken"},
	{"json_web_key_test.json", []int{2, 13, 14, 15}, "JW1", "HMAC: who verifies could also sign"},
}

type wycheproofGroup struct {
	Comment string         `json:"comment"`
	Private map[string]any `json:"private"`
	Public  map[string]any `json:"public"`
	Tests   []struct {
		ID      int             `json:"tcId"`
		Comment string          `json:"comment"`
		JWS     json.RawMessage `json:"jws"`
		JWE     json.RawMessage `json:"jwe"`
		Result  string          `json:"result"`
	} `json:"tests"`
}

// keys is the set that the owner of the group's keys would publish.
func (g wycheproofGroup) keys(t *testing.T) jose.KeySet {
	t.Helper()
	published := g.Public
	if published == nil {
		published = g.Private
	}
	list, isSet := published["keys"].([]any)
	if !isSet {
		list = []any{published}
	}
	for _, key := range list {
		if k, ok := key.(map[string]any); ok && k["kty"] != "oct" {
			for _, member := range strings.Fields("d p q dp dq qi") {
				delete(k, member)
			}
		}
	}
	data, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseKeySet(data)
	if err != nil {
		return jose.KeySet{} // a set that cannot be read has no keys
	}
	return set
}

// verifyWith is what a verifier does: form, header, key by id and algorithm, signature.
func verifyWith(set jose.KeySet, token string) error {
	m, err := jose.Parse(token)
	if err != nil {
		return err
	}
	key, found := set.Find(m.KeyID(), m.Algorithm())
	if !found {
		return jose.ErrKey
	}
	_, err = m.Verify(key)
	return err
}

// tally counts the vectors of a file by what became of them.
type tally struct{ invalid, valid, stricter int }

// TestWycheproof: JW1, JW2, JW6, JW8, JW15, JW16. No invalid vector is taken, and each valid one that is refused
// stands in the table above, which holds nothing else.
func TestWycheproof(t *testing.T) {
	t.Parallel()
	counts := map[string]tally{}
	for _, file := range wycheproofFiles {
		var vectors struct {
			Groups []wycheproofGroup `json:"testGroups"`
		}
		data, err := fs.ReadFile(wycheproof.TestVectors, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &vectors); err != nil {
			t.Fatal(err)
		}
		refused := map[int]bool{}
		count := tally{}
		for _, g := range vectors.Groups {
			set := g.keys(t)
			for _, c := range g.Tests {
				err := verifyWith(set, wycheproofToken(c.JWS, c.JWE))
				switch {
				case c.Result == "invalid" && err != nil:
					count.invalid++
				case c.Result == "valid" && err == nil:
					count.valid++
				case c.Result == "valid":
					count.stricter++
					refused[c.ID] = true
				default:
					t.Errorf("%s %d (%s, %s) is %s, and was taken", file, c.ID, g.Comment, c.Comment, c.Result)
				}
			}
		}
		sameRefusals(t, file, refused)
		counts[file] = count
	}
	checkWycheproofDocument(t, counts)
}

// wycheproofToken is the vector as it would come over the wire: a text, or an object of the JSON serialization.
func wycheproofToken(raw ...json.RawMessage) string {
	joined := string(slices.Concat(raw...))
	var text string
	if json.Unmarshal([]byte(joined), &text) == nil {
		return text
	}
	return joined
}

// sameRefusals holds the table against what happened.
func sameRefusals(t *testing.T, file string, refused map[int]bool) {
	t.Helper()
	for _, row := range stricter {
		for _, id := range row.ids {
			if row.file != file {
				continue
			}
			if !refused[id] {
				t.Errorf("the table is stale: %s %d is no valid vector that we refuse", file, id)
			}
			delete(refused, id)
		}
	}
	for id := range refused {
		t.Errorf("%s %d is valid, and was refused without a reason in the table", file, id)
	}
}

// checkWycheproofDocument holds docs/WYCHEPROOF.md against the table, or writes it.
func checkWycheproofDocument(t *testing.T, counts map[string]tally) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Wycheproof

Project Wycheproof (https://github.com/C2SP/wycheproof) collects tokens and keys that broken libraries take. Its vectors for
JWS and JWK go through our verifier in ` + "`jose/wycheproof_test.go`" + `, which wrote this page (` + "`go test ./jose -update`" + `) and fails
when it is stale.

| file | invalid, all refused | valid, taken | valid, refused by us |
|---|---|---|---|
`)
	for _, file := range wycheproofFiles {
		c := counts[file]
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", file, c.invalid, c.valid, c.stricter)
	}
	b.WriteString("\n## Where we are stricter\n\n| file | vectors (tcId) | rule | why |\n|---|---|---|---|\n")
	for _, row := range stricter {
		ids := strings.Trim(strings.ReplaceAll(fmt.Sprint(row.ids), " ", ", "), "[]")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.file, ids, row.rule, row.why)
	}
	path := filepath.Join("..", "docs", "WYCHEPROOF.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("%s is stale (%v): go test ./jose -run TestWycheproof -update", path, err)
	}
}
