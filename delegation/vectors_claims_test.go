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
		{"null", `null`}, {"empty", `{}`}, {"a string", `"` + jkt + `"`}, {"an array", `[{"jkt":"` + jkt + `"}]`},
		{"of two keys", `{"jkt":"` + jkt + `","x5t#S256":"` + jkt + `"}`}, {"of a short thumbprint", `{"jkt":"AAAA"}`},
		{"with padding", `{"jkt":"` + jkt + `="}`}, {"of a number", `{"jkt":1}`}, {"of a null", `{"jkt":"` + jkt + `","x5t#S256":null}`},
		{"of a certificate in hex", `{"x5t#S256":"` + strings.Repeat("0f", 32) + `"}`}, {"of a certificate's SHA-1", `{"x5t":"` + jkt[:27] + `"}`},
		{"of a short certificate", `{"x5t#S256":"AAAA"}`}, {"with a certificate's name in capitals", `{"X5T#S256":"` + jkt + `"}`},
		{"with a key in it", `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"` + jkt + `"}}`}, {"with a kid", `{"jkt":"` + jkt + `","kid":"k"}`},
	} {
		f.isEvilToken("cnf "+c.name, "DP6", "claims", "a binding that is not understood is not checked", f.token("es",
			strings.Replace(f.text(f.claims(object{"cnf": "HERE"})), `"HERE"`, c.value, 1)))
		f.evil[len(f.evil)-1].AcceptBound = true
	}
	f.makeEvilBindings()
	f.makeEvilServices()
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

// makeEvilBindings: a token, and a key that is not its own.
func (f *forge) makeEvilBindings() {
	other := strings.Repeat("A", 43)
	toKey, toCertificate := object{"cnf": object{"jkt": jkt}}, object{"cnf": object{"x5t#S256": x5t}}
	for _, c := range []struct {
		name, rule, why string
		change          object
		proven          vectorKeys
	}{
		{"bound to another DPoP key", "DP6", "a stolen token with the thief's own proof", toKey, vectorKeys{JKT: other}},
		{"bound to a DPoP key, only a certificate", "DP6", "nobody has proven the key", toKey, vectorKeys{X5T: x5t}},
		{"bound to a DPoP key, a certificate of that thumbprint", "DP11", "a certificate is no DPoP key", toKey, vectorKeys{X5T: jkt}},
		{"bound to another certificate", "MT2", "a stolen token over the thief's own connection", toCertificate, vectorKeys{X5T: other}},
		{"bound to a certificate that was renewed", "MT4", "a new certificate is another thumbprint, though the key be the same", toCertificate, vectorKeys{X5T: jkt}},
		{"bound to a certificate, only a proof", "MT2", "nobody has shown the certificate", toCertificate, vectorKeys{JKT: x5t}},
		{"bound to a certificate, presented with a proof", "DP6", "a token that comes with a proof is bound to the proof's key", toCertificate, vectorKeys{JKT: jkt, X5T: x5t}},
		{"a bearer's token with a proof", "DP6", "a token that comes with a proof is bound to the proof's key", nil, vectorKeys{JKT: jkt}},
	} {
		f.isEvil(c.name, c.rule, "bound", c.why, c.change)
		f.evil[len(f.evil)-1].Proven = &c.proven
	}
	f.isEvil("bound to a certificate, as bearer", "EX5", "bound", "nobody has shown the certificate", toCertificate)
}

// makeEvilServices: service accounts that are none, or of others.
func (f *forge) makeEvilServices() {
	for _, c := range []struct{ name, rule, why, sub string }{
		{"service of another tenant", "TX24", "acme's agent, globex's service", "service:globex/reporting"},
		{"service without a name", "AT3", "which?", "service:acme/"},
		{"service without an org", "AT3", "whose?", "service:reporting"},
		{"service with two names", "AT3", "an id that others cut elsewhere", "service:acme/reporting/x"},
		{"service in capitals", "AT3", "names are lower case", "service:acme/Reporting"},
		{"service with an issuer", "AT3", "a user's form under a service's prefix", "service:acme/okta|00u1"},
		{"service prefix in capitals", "AT3", "kinds are compared exactly", "Service:acme/reporting"},
	} {
		f.isEvil(c.name, c.rule, "claims", c.why, object{"sub": c.sub})
	}
	f.isEvil("service as actor", "D1", "chain", "agents act; a service account does not", object{
		"act": object{"iss": "https://sts.example", "sub": "service:acme/reporting"}, "lineage": nil})
	f.isEvil("service as may_act", "TX17", "claims", "an agent picks up, not a service account", object{
		"may_act": object{"iss": "https://sts.example", "sub": "service:acme/reporting"}})
	f.isEvil("authorization_details of a number", "RA1", "claims", "an array of objects", object{"authorization_details": 7})
	f.isEvil("authorization_details with a null", "RA1", "claims", "an array of objects", object{"authorization_details": []any{nil}})
	f.isEvil("authorization_details with a type that is no text", "RA1", "claims", "a type is text", object{"authorization_details": []object{{"type": 7}}})
	f.isEvil("authorization_details with an empty type", "RA1", "claims", "each object has a type", object{"authorization_details": []object{{"type": ""}}})
	f.isEvil("Type in place of type", "ACT13", "claims", "names are compared exactly", object{"authorization_details": []object{{"Type": "payment"}}})
	f.isEvilToken("authorization_details with type twice", "JW9", "malformed", "which of the two?", f.token("es",
		strings.Replace(f.text(f.claims(object{"authorization_details": "HERE"})), `"HERE"`, `[{"type":"payment","type":"report"}]`, 1)))
}
