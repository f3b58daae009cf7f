package registry

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// attributes are the short names of RFC 4514 §3, and those that certificates' tools print besides.
var attributes = map[string]string{
	"CN": "2.5.4.3", "L": "2.5.4.7", "ST": "2.5.4.8", "O": "2.5.4.10", "OU": "2.5.4.11", "C": "2.5.4.6", "STREET": "2.5.4.9",
	"DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1",
	"SERIALNUMBER": "2.5.4.5", "POSTALCODE": "2.5.4.17", "EMAILADDRESS": "1.2.840.113549.1.9.1",
}

// certificateDN is a certificate's subject in the one spelling that normalDN gives.
func certificateDN(c *x509.Certificate) (string, error) {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &sequence); err != nil || len(rest) > 0 {
		return "", errors.New("the subject is no distinguished name")
	}
	sets := make([][]string, 0, len(sequence))
	for _, set := range sequence {
		var one []string
		for _, a := range set {
			value, ok := a.Value.(string)
			if !ok {
				return "", errors.New("the subject has a value that is no text")
			}
			one = append(one, pair(a.Type.String(), value))
		}
		sets = append(sets, one)
	}
	slices.Reverse(sets) // RFC 4514 §2.1 writes the last first
	return spell(sets), nil
}

// normalDN is a distinguished name, written by RFC 4514, in one spelling: types as OIDs, values without escapes, sets sorted.
func normalDN(dn string) (string, error) {
	var sets [][]string
	rest := dn
	var one []string
	for {
		kind, after, ok := strings.Cut(rest, "=")
		if !ok {
			return "", fmt.Errorf("%q: want a distinguished name such as CN=researcher,O=Acme (RFC 4514)", clip(dn))
		}
		oid, err := attributeType(kind)
		if err != nil {
			return "", err
		}
		value, end, remaining, err := attributeValue(after)
		if err != nil {
			return "", err
		}
		one = append(one, pair(oid, value))
		rest = remaining
		if end == '+' {
			continue
		}
		sets = append(sets, one)
		one = nil
		if end == 0 {
			return spell(sets), nil
		}
	}
}

// pair cannot be mistaken for another: the length says where the value ends.
func pair(oid, value string) string { return oid + "=" + strconv.Itoa(len(value)) + ":" + value }

func spell(sets [][]string) string {
	lines := make([]string, len(sets))
	for i, set := range sets {
		slices.Sort(set)
		lines[i] = strings.Join(set, "+")
	}
	return strings.Join(lines, ",")
}

func attributeType(kind string) (string, error) {
	kind = strings.Trim(kind, " ") // spaces after a comma: RFC 2253 had them, and tools still print them
	if oid, ok := attributes[strings.ToUpper(kind)]; ok {
		return oid, nil
	}
	if kind == "" || strings.Trim(kind, "0123456789.") != "" || !strings.Contains(kind, ".") {
		return "", fmt.Errorf("%q is not a known attribute type: write its OID", clip(kind))
	}
	return kind, nil
}

// attributeValue reads a value (RFC 4514 §2.4, §3) up to the comma or plus behind it, which end says; 0 is the end.
func attributeValue(s string) (value string, end byte, rest string, err error) {
	s = strings.TrimLeft(s, " ")
	if strings.HasPrefix(s, "#") {
		return "", 0, "", errors.New("values in hexadecimal are not compared: write the text")
	}
	var out []byte
	kept := 0 // of out, that trailing spaces may not be cut from: up to the last escape or other character
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			b, n, err := unescape(s[i+1:])
			if err != nil {
				return "", 0, "", err
			}
			out = append(out, b)
			kept = len(out)
			i += n
		case ',', '+':
			return done(out[:kept], c, s[i+1:])
		case '"', ';', '<', '>', 0:
			return "", 0, "", fmt.Errorf("%q needs a backslash before it (RFC 4514 section 2.4)", c)
		default:
			out = append(out, c)
			if c != ' ' {
				kept = len(out)
			}
		}
	}
	return done(out[:kept], 0, "")
}

func done(value []byte, end byte, rest string) (string, byte, string, error) {
	if len(value) == 0 {
		return "", 0, "", errors.New("an attribute has no value")
	}
	return string(value), end, rest, nil
}

// unescape reads what follows a backslash: a special character, or two hexadecimal digits. n is how many bytes it read.
func unescape(s string) (b byte, n int, err error) {
	if s != "" && strings.IndexByte(`\"+,;<> #=`, s[0]) >= 0 {
		return s[0], 1, nil
	}
	if len(s) >= 2 {
		if v, err := hex.DecodeString(s[:2]); err == nil {
			return v[0], 2, nil
		}
	}
	return 0, 0, errors.New("a backslash escapes nothing that needs it (RFC 4514 section 2.4)")
}
