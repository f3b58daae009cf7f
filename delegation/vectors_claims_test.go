package delegation_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/onbehalf/obo/jose"
)

func newPublic(key crypto.PublicKey) (json.RawMessage, error) {
	k, err := jose.NewKey("", jose.ES256, key)
	return k.JSON(), err
}

// makeEvilClaims: AT2, the names in a token, and JSON with two meanings.
func (f *forge) makeEvilClaims() {
	for _, claim := range strings.Fields("iss exp aud sub client_id iat jti org_id txn") {
		f.isEvil(claim+" missing", "AT2", "claims", "required", object{claim: nil})
	}
	for _, claim := range strings.Fields("iss aud sub client_id org_id jti txn scope acr sid") {
		f.isEvil(claim+" a number", "AT2", "claims", "of the wrong kind", object{claim: 7})
		f.isEvilToken(claim+" null", "AT2", "claims", "a null is no way to leave a claim out", f.token("es",
			strings.Replace(f.text(f.claims(object{claim: "HERE"})), `"HERE"`, `null`, 1)))
	}
	good := f.text(f.claims(nil))
	for _, c := range []struct{ name, payload string }{
		{"empty", ` `}, {"null", `null`}, {"an array", `[` + good + `]`}, {"a string", `"x"`}, {"cut off", good[:len(good)-1]},
		{"two objects", good + good}, {"with a comment", good + `/**/`}, {"with a byte order mark", "\ufeff" + good},
		{"not UTF-8", strings.Replace(good, `"jti"`, "\"x\":\"\xff\",\"jti\"", 1)},
		{"with half a surrogate", strings.Replace(good, `"jti"`, `"x":"\ud800","jti"`, 1)},
		{"sub twice", strings.Replace(good, `{`, `{"sub":"user:acme/okta|admin",`, 1)},
		{"sub twice, one escaped", strings.Replace(good, `{`, `{"\u0073ub":"user:acme/okta|admin",`, 1)},
		{"org_id twice", strings.Replace(good, `{`, `{"org_id":"globex",`, 1)},
		{"scope twice", strings.Replace(good, `{`, `{"scope":"admin",`, 1)},
		{"an unknown claim twice", strings.Replace(good, `{`, `{"x":1,"x":2,`, 1)},
		{"a name twice deep inside", strings.Replace(good, `{`, `{"x":[{"y":1,"y":2}],`, 1)},
		{"nested 33 deep", strings.Replace(good, `{`, `{"x":`+strings.Repeat(`[`, 32)+strings.Repeat(`]`, 32)+`,`, 1)},
	} {
		f.isEvilToken("payload "+c.name, "JW9", "malformed", "claims are one JSON object with one meaning", f.token("es", c.payload))
	}
	f.isEvil("another issuer", "AT7", "issuer", "iss must be ours to the byte", object{"iss": "https://sts2.example", "act": object{"iss": "https://sts2.example", "sub": "agent:acme/a"}})
	f.isEvil("issuer with a slash", "AT7", "issuer", "no normalisation", object{"iss": "https://sts.example/", "act": object{"iss": "https://sts.example/", "sub": "agent:acme/a"}})
	f.isEvil("issuer in capitals", "AT7", "issuer", "no normalisation", object{"iss": "HTTPS://STS.EXAMPLE", "act": object{"iss": "HTTPS://STS.EXAMPLE", "sub": "agent:acme/a"}})
	for _, c := range []struct{ name, aud string }{
		{"for another service", "https://other.example"}, {"with a slash", "https://executor.example/"}, {"a prefix", "https://executor.exampl"},
		{"longer", "https://executor.example.evil.example"}, {"in capitals", "HTTPS://EXECUTOR.EXAMPLE"},
	} {
		f.isEvil("audience "+c.name, "AT7", "audience", "aud must be this service's id to the byte", object{"aud": c.aud})
	}
	f.isEvil("two audiences", "EX2", "claims", "a token is for one service", object{"aud": []string{"https://executor.example", "https://other.example"}})
	f.isEvil("one audience in an array", "EX2", "claims", "our STS writes a string; one meaning has one form", object{"aud": []string{"https://executor.example"}})
	f.isEvil("no audience in an array", "AT4", "claims", "aud is never empty", object{"aud": []string{}})
	f.isEvil("empty audience", "AT4", "claims", "aud is never empty", object{"aud": ""})
	f.isEvil("two audiences in a string", "EX2", "claims", "no audience has a space", object{"aud": "https://executor.example https://other.example"})
}

// makeEvilRest: the org everywhere, scopes, bindings, and the claims that may be left out.
func (f *forge) makeEvilRest() {
	claims := func(name, rule, why string, change object) { f.isEvil(name, rule, "claims", why, change) }
	claims("org_id of another tenant", "TX24", "everybody in the token is of acme", object{"org_id": "globex"})
	claims("sub of another tenant", "TX24", "acme's agent, globex's user", object{"sub": "user:globex/okta|00u1"})
	claims("client of another tenant", "TX24", "acme's user, globex's client", object{"client_id": "globex.orchestrator"})
	claims("org_id in capitals", "AT8", "an org id is lower case", object{"org_id": "ACME"})
	claims("org_id with a slash", "AT8", "an id that would cut others in two", object{"org_id": "acme/okta"})
	claims("org_id an array", "AT8", "a token is of one tenant", object{"org_id": []string{"acme"}})
	claims("ORG_ID in place of org_id", "ACT13", "names are compared exactly", object{"org_id": nil, "ORG_ID": "acme"})
	claims("inverted sub and act", "D1", "sub is the user and act.sub the agent, not the other way round", object{
		"sub": "agent:acme/researcher", "act": object{"iss": "https://sts.example", "sub": "user:acme/okta|00u1"}})
	claims("bare sub", "CA9", "a sub without its kind, org and issuer", object{"sub": "00u1"})
	claims("sub of no issuer", "CA9", "whose 00u1?", object{"sub": "user:acme/00u1"})
	claims("sub with a control character", "CA9", "a log line of its own", object{"sub": "user:acme/okta|0\n0"})
	claims("sub of 300 bytes", "CA9", "longer than any sub", object{"sub": "user:acme/okta|" + strings.Repeat("0", 300)})
	claims("client_id an agent id", "ACT10", "the client is not the actor", object{"client_id": "agent:acme/orchestrator"})
	claims("jti with a dot", "AT2", "an action id is cut at the dot", object{"jti": "a.b"})
	claims("txn of 65 bytes", "AT2", "longer than any", object{"txn": strings.Repeat("t", 65)})
	claims("scope an array", "ACT11", "scope is one string", object{"scope": []string{"github:issues:read"}})
	claims("scope an object", "ACT11", "scope is one string", object{"scope": object{"github:issues:read": true}})
	claims("scope empty", "RFC 6749 3.3", "a scope string has a scope, or is left out", object{"scope": ""})
	claims("scope with two spaces", "RFC 6749 3.3", "single spaces", object{"scope": "a  b"})
	claims("scope with a tab", "RFC 6749 3.3", "spaces alone", object{"scope": "a\tb"})
	claims("scope with a quote", "RFC 6749 3.3", "not of the alphabet", object{"scope": `a"b`})
	claims("scope not ASCII", "RFC 6749 3.3", "not of the alphabet", object{"scope": "ä"})
	var many []string
	for n := range 101 {
		many = append(many, fmt.Sprintf("s%d", n))
	}
	claims("101 scopes", "ACT11", "one more than there may be", object{"scope": strings.Join(many, " ")})
	f.isEvil("bound token as bearer", "EX5", "bound", "nobody has proven the key", object{"cnf": object{"jkt": jkt}})
	for _, c := range []struct{ name, value string }{
		{"null", `null`}, {"empty", `{}`}, {"a string", `"` + jkt + `"`}, {"of a certificate", `{"x5t#S256":"` + jkt + `"}`},
		{"of two keys", `{"jkt":"` + jkt + `","x5t#S256":"` + jkt + `"}`}, {"of a short thumbprint", `{"jkt":"AAAA"}`},
		{"with padding", `{"jkt":"` + jkt + `="}`}, {"of a number", `{"jkt":1}`},
	} {
		f.isEvilToken("cnf "+c.name, "DP6", "claims", "a binding that is not understood is not checked", f.token("es",
			strings.Replace(f.text(f.claims(object{"cnf": "HERE"})), `"HERE"`, c.value, 1)))
		f.evil[len(f.evil)-1].AcceptBound = true
	}
	party := func(iss, sub string) object { return object{"iss": iss, "sub": sub} }
	claims("may_act an array", "TX17", "one agent", object{"may_act": []object{party("https://sts.example", "agent:acme/writer")}})
	claims("may_act of another org", "TX17", "nobody in the token is of another tenant", object{"may_act": party("https://sts.example", "agent:globex/writer")})
	claims("may_act of another issuer", "TX17", "every identity member must match", object{"may_act": party("https://evil.example", "agent:acme/writer")})
	claims("may_act a user", "TX17", "an agent picks up, not a user", object{"may_act": party("https://sts.example", "user:acme/okta|00u1")})
	claims("may_act with a condition", "TX17", "a condition that is not understood is not checked", object{
		"may_act": object{"iss": "https://sts.example", "sub": "agent:acme/writer", "email": "a@b.example"}})
	claims("authorization_details an object", "RA1", "an array of objects", object{"authorization_details": object{"type": "x"}})
	claims("authorization_details empty", "RA1", "nothing to say is said by leaving it out", object{"authorization_details": []object{}})
	claims("authorization_details without type", "RA1", "each object has a type", object{"authorization_details": []object{{"actions": []string{"read"}}}})
	claims("authorization_details of strings", "RA1", "an array of objects", object{"authorization_details": []string{"x"}})
	claims("amr a string", "TX21", "an array of strings", object{"amr": "pwd"})
	claims("groups a string", "RFC 9068 2.2.3.1", "an array of strings", object{"groups": "admin"})
	claims("groups of numbers", "RFC 9068 2.2.3.1", "an array of strings", object{"groups": []int{1}})
	claims("an empty group", "RFC 9068 2.2.3.1", "a group has a name", object{"groups": []string{""}})
	claims("65 groups", "DESIGN 6", "one more than there may be", object{"groups": many[:65]})
	claims("acr with a control character", "TX21", "a log line of its own", object{"acr": "a\nb"})
	claims("sid of 256 bytes", "TX21", "longer than any", object{"sid": strings.Repeat("s", 256)})
}
