package registry_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// TestWorkloadRule: a rule fits when every claim is there with its value, and nothing is guessed about other types.
func TestWorkloadRule(t *testing.T) {
	t.Parallel()
	const claims = `{"sub":"repo:acme/agents:ref:refs/heads/main","run":12,"protected":true,"gone":null,"list":["a"],"object":{"a":"b"},
		"a/b":{"c~d":"deep"},"star":"x*","empty":""}`
	for _, c := range []struct {
		name, claim, value string
		want               bool
	}{
		{"exact", "sub", "repo:acme/agents:ref:refs/heads/main", true},
		{"another case", "sub", "repo:Acme/agents:ref:refs/heads/main", false},
		{"another name's case", "Sub", "repo:acme/agents:ref:refs/heads/main", false},
		{"a beginning without star", "sub", "repo:acme/agents:", false},
		{"a beginning", "sub", "repo:acme/agents:*", true},
		{"a beginning of another", "sub", "repo:acme/agent:*", false},
		{"a star stands for something", "sub", "repo:acme/agents:ref:refs/heads/main*", false},
		{"a number by its text", "run", "12", true},
		{"no beginning of a number", "run", "1*", false},
		{"true", "protected", "true", true},
		{"null", "gone", "null", false},
		{"an array", "list", `["a"]`, false},
		{"an object", "object", `{"a":"b"}`, false},
		{"inside an object", "/object/a", "b", true},
		{"inside what is none", "/sub/a", "b", false},
		{"escaped", "/a~1b/c~0d", "deep", true},
		{"missing", "nothing", "x", false},
		{"missing inside", "/object/b", "b", false},
		{"an empty value", "empty", "*", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all := map[string]json.RawMessage{}
			if err := jose.Decode([]byte(claims), &all); err != nil {
				t.Fatal(err)
			}
			agent := &registry.Client{Registration: registry.Agent{Workloads: []registry.WorkloadRule{
				{Issuer: "ci", Claims: map[string]string{c.claim: c.value, "star": "x**"}},
				{Issuer: "ci", Claims: map[string]string{c.claim: c.value}},
				{Issuer: "other"},
			}}}
			if got := agent.Runs("ci", all); got != c.want {
				t.Errorf("got %t", got)
			}
			if agent.Runs("other", all) || agent.Runs("nobody", all) {
				t.Error("a rule without claims, or of nobody, fits")
			}
		})
	}
}

// TestDistinguishedNames: CA7, a subject_dn means what RFC 4514 says, however it is spelt.
func TestDistinguishedNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, dn string
		subject  pkix.RDNSequence
		want     bool
	}{
		{"CA7 plain", "CN=a,O=b", sequence(one("2.5.4.10", "b"), one("2.5.4.3", "a")), true},
		{"CA7 spaces around", " CN = a , O= b ", sequence(one("2.5.4.10", "b"), one("2.5.4.3", "a")), true},
		{"CA7 spaces inside", `CN=a  b`, sequence(one("2.5.4.3", "a b")), false},
		{"CA7 an escaped space", `CN=\ a\ `, sequence(one("2.5.4.3", " a ")), true},
		{"CA7 a set in any order", "CN=a+O=b", sequence(append(one("2.5.4.10", "b"), one("2.5.4.3", "a")...)), true},
		{"CA7 a set is no sequence", "CN=a,O=b", sequence(append(one("2.5.4.10", "b"), one("2.5.4.3", "a")...)), false},
		{"CA7 UTF-8 in hexadecimal", `CN=Lu\C4\8Di\C4\87`, sequence(one("2.5.4.3", "Lučić")), true},
		{"CA7 UTF-8 as it is", `CN=Lučić`, sequence(one("2.5.4.3", "Lučić")), true},
		{"CA7 a comma cannot make two", `CN=a\,O=b`, sequence(one("2.5.4.10", "b"), one("2.5.4.3", "a")), false},
		{"CA7 a value with a plus", `CN=a\+b`, sequence(one("2.5.4.3", "a+b")), true},
		{"CA7 OID", "0.9.2342.19200300.100.1.1=x", sequence(one("0.9.2342.19200300.100.1.1", "x")), true},
		{"CA7 an empty subject", "CN=a", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := parse(t, goodYAML)
			key := newKey(t)
			d.ClientCAs, d.Agents[0].TLSClientAuth = pemOf(selfSigned(t, key, true)), &registry.TLSSubject{DN: c.dn}
			if err := d.Validate(); err != nil {
				t.Fatal(err)
			}
			raw, err := asn1.Marshal(c.subject)
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: raw, NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			agent, _ := compile(t, d).Client("orchestrator")
			if got := agent.Presents(leaf); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
	for _, dn := range []string{"", "CN", "CN=", "X=y", "CN=a,", "CN=a\\", "CN=#0401", `CN="a"`, "CN=a;O=b", `CN=a\zz`, "=a", "CN=a,,O=b", "1=a"} {
		t.Run("CA7 refused "+dn, func(t *testing.T) {
			t.Parallel()
			d := parse(t, goodYAML)
			d.ClientCAs, d.Agents[0].TLSClientAuth = pemOf(selfSigned(t, newKey(t), true)), &registry.TLSSubject{DN: dn}
			if d.Validate() == nil {
				t.Error("accepted")
			}
		})
	}
}

func one(oid, value string) []pkix.AttributeTypeAndValue {
	var id asn1.ObjectIdentifier
	n := 0
	for i := 0; i <= len(oid); i++ {
		if i == len(oid) || oid[i] == '.' {
			id, n = append(id, n), 0
			continue
		}
		n = n*10 + int(oid[i]-'0')
	}
	return []pkix.AttributeTypeAndValue{{Type: id, Value: value}}
}

func sequence(sets ...[]pkix.AttributeTypeAndValue) pkix.RDNSequence {
	var out pkix.RDNSequence
	for _, s := range sets {
		out = append(out, s)
	}
	return out
}
