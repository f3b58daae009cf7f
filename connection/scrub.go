package connection

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/onbehalf/obo/vault"
)

// scrubbed is what stands where a secret was.
const scrubbed = "[redacted]"

// Scrubber takes a credential out of what comes back: providers have echo endpoints, and errors that quote the request.
type Scrubber struct{ replacer *strings.Replacer }

// NewScrubber knows a credential as it is, and as base64 (also inside a longer text that was encoded), hexadecimal and
// percent-encoding write it.
func NewScrubber(c vault.Credential) Scrubber {
	var forms []string
	for _, secret := range [][]byte{c.Reveal(), c.Refresh()} {
		if len(secret) > 0 {
			forms = append(forms, formsOf(string(secret))...)
		}
	}
	// Longer forms first, so that none is broken by a shorter one within it.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	forms = slices.Compact(forms)
	var pairs []string
	for _, f := range forms {
		pairs = append(pairs, f, scrubbed)
	}
	return Scrubber{strings.NewReplacer(pairs...)}
}

func formsOf(secret string) []string {
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), escape(secret), lowerHex(escape(secret))}
	forms = append(forms, percentAll(secret, "%%%02X"), percentAll(secret, "%%%02x"))
	forms = append(forms, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))))
	forms = append(forms, base64Forms(secret)...)
	quoted, err := json.Marshal(secret) // JSON within a JSON string
	if err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	return forms
}

// base64Forms are the secret in base64, at each of the three places where it can begin within a longer text. The characters
// at the ends that depend on what stands beside the secret are left out, when enough remains to know it by.
func base64Forms(secret string) []string {
	var out []string
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		out = append(out, enc.EncodeToString([]byte(secret)), strings.TrimRight(enc.EncodeToString([]byte(secret)), "="))
		for shift := range 3 {
			padded := enc.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
			first := (shift*8 + 5) / 6
			last := (shift + len(secret)) * 8 / 6
			if last-first >= 8 {
				out = append(out, padded[first:last])
			}
		}
	}
	return out
}

func percentAll(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// lowerHex writes the digits of percent-encodings in lower case.
func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// Text scrubs a text.
func (s Scrubber) Text(text string) string {
	if s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}

// value scrubs every name, string and number of a value of parseJSON.
func (s Scrubber) value(v any) any {
	switch x := v.(type) {
	case string:
		return s.Text(x)
	case json.Number:
		if text := s.Text(x.String()); text != x.String() {
			return text
		}
	case []any:
		for i, item := range x {
			x[i] = s.value(item)
		}
	case map[string]any:
		for k, item := range x {
			clean := s.Text(k)
			if clean != k {
				delete(x, k)
			}
			x[clean] = s.value(item)
		}
	}
	return v
}
