package delegation_test

import (
	"fmt"
	"strings"
)

// makeGood: tokens that every reader must take. A reader that refuses one of them is stricter than the protocol.
func (f *forge) makeGood() {
	f.isGood("two actors", "D1", "the plain case: researcher acts for the user, and got it from orchestrator", nil)
	agents := strings.Fields("a1 a2 a3 a4 a5 a6 a7 a8 a9 a10")
	var lineage []string
	for n := range agents {
		f.isGood(fmt.Sprintf("depth %d", n+1), "ACT6", "every depth up to the greatest", object{"act": f.chain(agents[:n+1]...), "lineage": orNil(lineage)})
		lineage = append(lineage, fmt.Sprintf("parent-%d", n+1))
	}
	for _, kid := range []string{"ed", "ed2", "ps", "rs"} {
		f.isGoodToken("signed with "+f.algorithm(kid), "JW2", "each key with its own algorithm", f.token(kid, f.claims(nil)))
	}
	f.isGoodToken("Ed25519 key under the name EdDSA", "JW14", "EdDSA and Ed25519 are two names of one algorithm",
		f.tokenWith("ed2", `{"alg":"EdDSA","kid":"ed2","typ":"at+jwt"}`, f.claims(nil)))
	f.isGoodToken("EdDSA key under the name Ed25519", "JW14", "EdDSA and Ed25519 are two names of one algorithm",
		f.tokenWith("ed", `{"alg":"Ed25519","kid":"ed","typ":"at+jwt"}`, f.claims(nil)))
	f.isGoodToken("key without alg", "JW2", "a P-256 key without alg is for ES256", f.token("noalg", f.claims(nil)))
	for _, typ := range []string{"AT+JWT", "at+JWT", "application/at+jwt", "Application/AT+JWT"} {
		f.isGoodToken("typ "+typ, "AT6", "media types compare without case, and application/ may be left out",
			f.tokenWith("es", object{"alg": "ES256", "kid": "es", "typ": typ}, f.claims(nil)))
	}
	f.isGoodToken("white space in header and payload", "JW9", "JSON allows it, and it is signed as it stands",
		f.tokenWith("es", "{ \"typ\":\"at+jwt\",\r\n\"kid\":\"es\" , \"alg\" : \"ES256\" }", " "+f.text(f.claims(nil))+"\n"))
	f.isGoodToken("escapes in names and values", "JW9", "\\u0061ud is aud",
		f.token("es", strings.NewReplacer(`"aud"`, `"\u0061ud"`, `acme/okta`, `acme\/okta`).Replace(f.text(f.claims(nil)))))
	f.isGood("fractional times", "JW10", "a NumericDate may have a fraction",
		object{"iat": float64(f.stamp) + 0.25, "exp": float64(f.stamp) + 300.5})
	f.isGoodToken("times with an exponent", "JW10", "a NumericDate is a JSON number of any form",
		f.token("es", strings.Replace(f.text(f.claims(nil)), `"iat":1795348800`, `"iat":1.7953488e9`, 1)))
	f.isGood("from a login of an hour ago", "SS7", "subject_iat is what a revocation is compared with", object{"subject_iat": f.stamp - 3600})
	f.isGood("not before now", "JW11", "nbf may be there, and be over", object{"nbf": f.stamp})
	f.isGood("issued 10 s ahead", "JW11", "clocks differ a little", object{"iat": f.stamp + 10})
	f.isGood("expired within the leeway", "AT7", "clocks differ a little: 4 s with a leeway of 5 s",
		object{"iat": f.stamp - 300, "exp": f.stamp - 4})
	f.isGood("an hour long", "DESIGN 4", "the longest life there is", object{"exp": f.stamp + 3600})
	f.isGood("no scope", "TX23", "absent allows nothing; it does not mean everything", object{"scope": nil})
	f.isGood("one scope", "ACT11", "scope is one string", object{"scope": "github:issues:read"})
	var hundred []string
	for n := range 100 {
		hundred = append(hundred, fmt.Sprintf("s%02d", n))
	}
	f.isGood("a hundred scopes", "ACT11", "the most there may be", object{"scope": strings.Join(hundred, " ")})
	f.isGood("odd scope characters", "RFC 6749 3.3", "every character of the grammar's ends", object{"scope": "!#[]~"})
	f.isGood("sign-in claims", "TX21", "acr, amr, auth_time and sid are copied from the subject token",
		object{"acr": "urn:mace:incommon:iap:silver", "amr": []string{"pwd", "otp"}, "auth_time": f.stamp - 3600, "sid": "08a5019c-17e1"})
	f.isGood("groups in many scripts", "RFC 9068 2.2.3.1", "a group's name is text", object{"groups": []string{"engineering", "Übung", "研究"}})
	f.isGood("may_act", "TX17", "an agent of the same org may pick this token up",
		object{"may_act": object{"iss": "https://sts.example", "sub": "agent:acme/writer"}})
	f.isGood("authorization_details", "RA1", "an array of objects with a type",
		object{"authorization_details": []object{{"type": "github_issue", "actions": []string{"read"}, "n": 1.5}}})
	f.isGood("unknown claims", "RFC 7519 4", "what is not understood is ignored, null and all", object{"x": object{"y": []any{1, true}, "z": nil}})
	f.isGood("ORG_ID beside org_id", "ACT13", "names are compared exactly: ORG_ID is another, unknown claim", object{"ORG_ID": "globex", "Act": "x"})
	f.isGood("unknown members in act", "ACT3", "they are kept as they came, and mean nothing here", object{"act": object{
		"iss": "https://sts.example", "sub": "agent:acme/researcher", "model": "m-1", "w": nil, "x": []any{nil},
		"act": object{"iss": "https://sts.example", "sub": "agent:acme/orchestrator", "y": object{"z": 1}},
	}})
	f.isGood("exp and aud in act", "ACT2", "they are meaningless there, and are not evaluated", object{"act": object{
		"iss": "https://sts.example", "sub": "agent:acme/researcher", "exp": 1, "nbf": "never", "aud": "https://elsewhere.example",
		"act": object{"iss": "https://sts.example", "sub": "agent:acme/orchestrator"},
	}})
	f.isGood("cnf in act", "ACT9", "a binding of an actor in the chain has no meaning for this token", object{"act": object{
		"iss": "https://sts.example", "sub": "agent:acme/researcher", "cnf": object{"jkt": jkt},
	}})
	f.isGood("the same agent twice", "ACT3", "a handed to b, and b back to a: three actors, none left out",
		object{"act": f.chain("a", "b", "a"), "lineage": []string{"l1", "l2"}})
	f.isGood("continued token", "ACT8", "a continuation adds to the lineage and not to the chain",
		object{"act": f.chain("orchestrator"), "lineage": []string{"l1", "l2", "l3"}})
	f.isGood("a subject full of separators", "CA9", "the issuer's sub is everything behind the first bar",
		object{"sub": "user:acme/okta|auth0|a/b:c user:globex/okta|x"})
	f.isGood("the longest org", "DESIGN 4", "63 characters", object{
		"org_id": strings.Repeat("o", 63), "sub": "user:" + strings.Repeat("o", 63) + "/okta|1", "client_id": strings.Repeat("o", 63) + ".a",
		"act": object{"iss": "https://sts.example", "sub": "agent:" + strings.Repeat("o", 63) + "/a"}, "lineage": nil,
	})
	f.isGood("a service account", "AT3", "a subject that is no person, when no person is involved",
		object{"sub": "service:acme/reporting", "act": f.chain("researcher"), "lineage": nil})
	f.isGood("a service account, handed over", "AT3", "its chain is as any other", object{"sub": "service:acme/reporting"})
	f.makeGoodBindings()
	f.makeGoodDetails()
}

// makeGoodBindings: tokens that are bound to a key, for who checks the proof of it, and for who has been proven the key.
func (f *forge) makeGoodBindings() {
	bearer := f.token("es", f.claims(nil))
	for _, c := range []struct {
		name, rule, why string
		cnf             object
		proven          *vectorKeys
	}{
		{"bound to a DPoP key, proof checked", "DP6", "for a reader that checks the proof of possession itself", object{"jkt": jkt}, nil},
		{"bound to a certificate, proof checked", "MT1", "for a reader that compares the certificate itself", object{"x5t#S256": x5t}, nil},
		{"bound to a DPoP key that was proven", "DP6", "the key of cnf, and of the proof", object{"jkt": jkt}, &vectorKeys{JKT: jkt}},
		{"bound to a certificate that is there", "MT2", "the certificate of cnf, and of the connection", object{"x5t#S256": x5t}, &vectorKeys{X5T: x5t}},
		{"bound to a DPoP key, over mutual TLS", "DP6", "a certificate beside the proof means nothing", object{"jkt": jkt}, &vectorKeys{JKT: jkt, X5T: x5t}},
	} {
		f.isGood(c.name, c.rule, c.why, object{"cnf": c.cnf})
		f.good[len(f.good)-1].AcceptBound, f.good[len(f.good)-1].Proven = c.proven == nil, c.proven
	}
	f.isGoodToken("a bearer's token, over mutual TLS", "MT2", "a certificate may be there without meaning", bearer)
	f.good[len(f.good)-1].Proven = &vectorKeys{X5T: x5t}
}

func (f *forge) makeGoodDetails() {
	f.isGood("several authorization_details", "RA4", "of one type and of two: each is a right by itself", object{"authorization_details": []object{
		{"type": "payment", "amount": 100, "currency": "USD"}, {"type": "payment", "amount": 10, "currency": "EUR"},
		{"type": "https://scheme.example/files", "locations": []string{"https://executor.example"}, "actions": []string{"list_accounts", "read"}},
	}})
	f.isGood("authorization_details of a service account", "RA1", "details and subject have nothing to do with each other", object{
		"sub": "service:acme/reporting", "authorization_details": []object{{"type": "report", "datatypes": []string{"sales"}}}})
}

// orNil leaves an empty list out of the claims.
func orNil(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return append([]string(nil), list...)
}
