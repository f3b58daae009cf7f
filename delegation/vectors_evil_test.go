package delegation_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// makeEvilForms: what is no compact JWS, or one in a second spelling.
func (f *forge) makeEvilForms() {
	good := f.token("es", f.claims(nil))
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	form := func(name, rule, why, token string) { f.isEvilToken(name, rule, "malformed", why, token) }
	form("empty", "JW8", "nothing at all", "")
	form("two parts", "JW8", "the signature is missing with its dot", header+"."+payload)
	form("no signature", "JW1", "the signature is empty", header+"."+payload+".")
	form("four parts", "JW8", "one part too many", good+".AA")
	form("five parts", "JW16", "a JWE, which we never take", header+".AAAA.AAAA.AAAA.AAAA")
	form("JSON serialization", "JW8", "JWS JSON serialization carries unprotected headers",
		`{"protected":"`+header+`","payload":"`+payload+`","signature":"`+signature+`"}`)
	form("padding", "JW8", "base64url in a JWS has no padding", header+"."+payload+"."+signature+"==")
	form("standard base64 alphabet", "JW8", "+ and / are of another alphabet", header+".ey+/."+signature)
	form("line break inside", "JW8", "some decoders skip it, so one token has many spellings", header+"."+payload[:8]+"\n"+payload[8:]+"."+signature)
	form("line break behind", "JW8", "some decoders skip it", good+"\n")
	form("space in front", "JW8", "not of the alphabet", " "+good)
	form("trailing bits in the signature", "JW8", "the last character of 64 bytes has four bits that a lax decoder drops",
		header+"."+payload+"."+signature[:len(signature)-1]+nextLetter(signature[len(signature)-1]))
	form("over 8 KiB", "JW16", "rightly signed, and longer than any token of ours", f.token("es", f.claims(object{"x": strings.Repeat("x", 8000)})))
	form("header is no JSON", "JW9", "", f.tokenWith("es", `{"alg":"ES256"`, f.claims(nil)))
	form("header is an array", "JW9", "", f.tokenWith("es", `["ES256"]`, f.claims(nil)))
	for n := range f.evil {
		if f.evil[n].Why == "" {
			f.evil[n].Why = "a JOSE header is one JSON object"
		}
	}
}

// nextLetter is the next of the base64url alphabet: the same bytes to a lax decoder, another spelling.
func nextLetter(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)+1])
}

// makeEvilHeaders: headers that ask the reader to trust, fetch or skip something, or that are of another kind of token.
func (f *forge) makeEvilHeaders() {
	base := func(change object) object {
		h := object{"alg": "ES256", "kid": "es", "typ": "at+jwt"}
		for name, value := range change {
			if h[name] = value; value == nil {
				delete(h, name)
			}
		}
		return h
	}
	with := func(name, rule, failure, why string, change object) {
		f.isEvilToken(name, rule, failure, why, f.tokenWith("es", base(change), f.claims(nil)))
	}
	unsigned := func(alg, kid string) string {
		return b64([]byte(`{"alg":"`+alg+`","kid":"`+kid+`","typ":"at+jwt"}`)) + "." + b64([]byte(f.text(f.claims(nil))))
	}
	f.isEvilToken("alg none, no signature", "JW1", "malformed", "an unsecured JWS", unsigned("none", "es")+".")
	f.isEvilToken("alg none, some signature", "JW1", "algorithm", "an unsecured JWS with a signature for show", unsigned("none", "es")+".AAAA")
	f.isEvilToken("alg noNE", "JW1", "algorithm", "alg is compared with case, and none in any case is none of ours", unsigned("noNE", "es")+".AAAA")
	der, err := x509.MarshalPKIXPublicKey(f.keys["rs"].Public())
	if err != nil {
		f.t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	f.isEvilToken("HS256 with the RSA public key as secret", "JW1", "algorithm", "everybody knows the public key",
		unsigned("HS256", "rs")+"."+b64(hmacOver(public, unsigned("HS256", "rs"))))
	f.isEvilToken("HS256 with the published symmetric key", "JW1", "algorithm", "a symmetric key in a key set is no secret",
		unsigned("HS256", "oct")+"."+b64(hmacOver([]byte(sharedSecret), unsigned("HS256", "oct"))))
	with("alg es256", "JW1", "algorithm", "alg is compared with case", object{"alg": "es256"})
	with("alg ES384", "JW1", "algorithm", "not on the list", object{"alg": "ES384"})
	with("alg missing", "JW1", "algorithm", "a header must have one", object{"alg": nil})
	with("alg a number", "JW1", "malformed", "of the wrong kind", object{"alg": 256})
	f.isEvilToken("alg null", "JW1", "malformed", "of the wrong kind", f.tokenWith("es", `{"alg":null,"kid":"es","typ":"at+jwt"}`, f.claims(nil)))
	f.isEvilToken("PS256 with the key for RS256", "JW2", "unknown_key", "one key has one algorithm",
		f.tokenWith("rs", `{"alg":"PS256","kid":"rs","typ":"at+jwt"}`, f.claims(nil)))
	f.isEvilToken("RS256 with the key for PS256", "JW2", "unknown_key", "one key has one algorithm",
		f.tokenWith("ps", `{"alg":"RS256","kid":"ps","typ":"at+jwt"}`, f.claims(nil)))
	f.isEvilToken("ES256 under the kid of an RSA key", "JW2", "unknown_key", "the kid names a key of another algorithm",
		f.tokenWith("es", `{"alg":"ES256","kid":"rs","typ":"at+jwt"}`, f.claims(nil)))
	with("unknown kid", "JW3", "unknown_key", "the issuer publishes no such key", object{"kid": "other"})
	with("kid missing", "JW3", "unknown_key", "our tokens name their key", object{"kid": nil})
	with("kid empty", "JW6", "malformed", "no kid is empty", object{"kid": ""})
	with("kid a path", "JW6", "unknown_key", "a kid is looked up and never opened", object{"kid": "../../../../dev/null"})
	with("kid a query", "JW6", "unknown_key", "a kid is looked up and never part of a query", object{"kid": "x' UNION SELECT 'key"})
	with("kid of 2 kB", "JW6", "malformed", "longer than any kid", object{"kid": strings.Repeat("k", 2048)})
	with("kid a number", "JW6", "malformed", "of the wrong kind", object{"kid": 7})
	with("kid with a control character", "JW6", "malformed", "a log line of its own", object{"kid": "es\nINFO all is well"})
	with("crit names an unknown member", "JW7", "malformed", "a reader that does not understand it must refuse", object{"crit": []string{"exp"}, "exp": 1})
	with("crit empty", "JW7", "malformed", "RFC 7515 forbids it", object{"crit": []string{}})
	with("crit names a standard member", "JW7", "malformed", "RFC 7515 forbids it", object{"crit": []string{"alg"}})
	with("b64 false", "JW7", "malformed", "the payload is not what was signed", object{"b64": false, "crit": []string{"b64"}})
	with("b64 true", "JW7", "malformed", "no member of ours", object{"b64": true})
	with("jku", "JW6", "malformed", "a token does not say where its keys are", object{"jku": "https://evil.example/jwks"})
	with("x5u", "JW6", "malformed", "a token does not say where its certificates are", object{"x5u": "https://evil.example/cert"})
	with("x5c", "JW6", "malformed", "a token does not bring its certificate", object{"x5c": []string{"MIIB"}})
	stranger := f.publicJWK("stranger")
	f.isEvilToken("jwk, signed with it", "JW6", "malformed", "a token does not bring its key",
		f.tokenWith("stranger", object{"alg": "ES256", "kid": "es", "typ": "at+jwt", "jwk": stranger}, f.claims(nil)))
	with("zip", "JW16", "malformed", "no compression in a JWS", object{"zip": "DEF"})
	with("a member that we never write", "AT1", "malformed", "our header has alg, kid and typ", object{"x5t": "AAAA"})
	f.isEvilToken("alg twice", "JW9", "malformed", "the first reader sees one, the second the other",
		f.tokenWith("es", `{"alg":"ES256","alg":"none","kid":"es","typ":"at+jwt"}`, f.claims(nil)))
	f.isEvilToken("typ twice", "JW9", "malformed", "the first reader sees one, the second the other",
		f.tokenWith("es", `{"alg":"ES256","kid":"es","typ":"JWT","typ":"at+jwt"}`, f.claims(nil)))
	with("typ missing", "AT6", "type", "an ID token or an assertion has none", object{"typ": nil})
	for _, typ := range strings.Fields(`JWT dpop+jwt txntoken+jwt oauth-id-jag+jwt secevent+jwt token-introspection+jwt statuslist+jwt
		wit+jwt wpt+jwt client-authentication+jwt logout+jwt jwt at+jwt+x application/application/at+jwt`) {
		with("typ "+typ, "JW4", "type", "another kind of token, with our issuer's signature on it", object{"typ": typ})
	}
	with("typ a number", "AT6", "malformed", "of the wrong kind", object{"typ": 1})
}

func (f *forge) publicJWK(kid string) any {
	key, err := newPublic(f.keys[kid].Public())
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

// makeEvilSignatures: right form, wrong proof.
func (f *forge) makeEvilSignatures() {
	good := f.token("es", f.claims(nil))
	last := strings.LastIndexByte(good, '.')
	bad := func(name, rule, why, token string) { f.isEvilToken(name, rule, "signature", why, token) }
	bad("signed by a stranger", "JW3", "another key under our kid", f.tokenWith("stranger", `{"alg":"ES256","kid":"es","typ":"at+jwt"}`, f.claims(nil)))
	bad("another payload under a good signature", "AT7", "the user was changed",
		good[:strings.IndexByte(good, '.')+1]+b64([]byte(f.text(f.claims(object{"sub": "user:acme/okta|admin"}))))+good[last:])
	bad("another header under a good signature", "AT7", "the header is signed too",
		b64([]byte(`{"typ":"at+jwt","alg":"ES256","kid":"es"}`))+good[strings.IndexByte(good, '.'):])
	bad("signature of zeros", "CVE-2022-21449", "r = s = 0", good[:last+1]+b64(make([]byte, 64)))
	bad("signature too short", "RFC 7518 3.4", "63 bytes", good[:last+1]+b64(make([]byte, 63)))
	bad("signature in ASN.1", "RFC 7518 3.4", "an ES256 signature is r and s, 32 bytes each",
		good[:last+1]+b64(append([]byte{0x30, 0x44, 0x02, 0x20}, make([]byte, 66)...)))
	signature := f.signature("es", "", good[:last])
	bad("r and s swapped", "RFC 7518 3.4", "s and r", good[:last+1]+b64(append(append([]byte{}, signature[32:]...), signature[:32]...)))
	f.isEvilToken("key of 1024 bits", "JW15", "unknown_key", "published, and too weak to be used", f.token("weak", f.claims(nil)))
	f.isEvilToken("key for encryption", "MD6", "unknown_key", "published with use enc", f.token("enc", f.claims(nil)))
	f.isEvilToken("key of an unknown kty", "JW12", "unknown_key", "passed over, as RFC 7517 wants it", f.token("future", f.claims(nil)))
}

// makeEvilTimes: AT7, JW10, JW11.
func (f *forge) makeEvilTimes() {
	f.isEvil("expired", "AT7", "expired", "an hour ago", object{"iat": f.stamp - 3900, "exp": f.stamp - 3600})
	f.isEvil("expired by just the leeway", "AT7", "expired", "exp plus 5 s is now", object{"iat": f.stamp - 305, "exp": f.stamp - 5})
	f.isEvil("nbf in 61 s", "JW11", "not_yet_valid", "too far ahead", object{"nbf": f.stamp + 61})
	f.isEvil("iat in 61 s", "JW11", "not_yet_valid", "too far ahead", object{"iat": f.stamp + 61})
	f.isEvil("exp before iat", "AT7", "claims", "never valid", object{"exp": f.stamp - 1})
	f.isEvil("exp is iat", "AT7", "claims", "never valid", object{"exp": f.stamp})
	f.isEvil("nbf after exp", "JW11", "claims", "never valid", object{"nbf": f.stamp + 300})
	f.isEvil("longer than an hour", "DESIGN 4", "claims", "no token of ours lives longer", object{"exp": f.stamp + 3601})
	for _, c := range []struct{ name, value string }{
		{"a string", `"1795349100"`}, {"a date", `"2026-11-22T12:05:00Z"`}, {"null", `null`}, {"negative", `-1`}, {"an array", `[1795349100]`},
		{"a boolean", `true`}, {"too great for a number", `1e400`}, {"beyond the year 9999", `253402300800`}, {"an object", `{}`},
	} {
		f.isEvilToken("exp is "+c.name, "JW10", "claims", "a NumericDate is a number of seconds", f.token("es",
			strings.Replace(f.text(f.claims(nil)), `"exp":1795349100`, `"exp":`+c.value, 1)))
	}
	f.isEvil("iat is a string", "JW10", "claims", "a NumericDate is a number of seconds", object{"iat": "1795348800"})
	f.isEvil("subject_iat after iat", "SS7", "claims", "a tree would seem younger than it is", object{"subject_iat": f.stamp + 1})
	f.isEvil("nbf is a string", "JW10", "claims", "a NumericDate is a number of seconds", object{"nbf": "0"})
	f.isEvil("nbf is negative", "JW10", "claims", "before 1970", object{"nbf": -1})
	f.isEvil("auth_time is negative", "JW10", "claims", "before 1970", object{"auth_time": -1})
	f.isEvil("auth_time is a string", "JW10", "claims", "a NumericDate is a number of seconds", object{"auth_time": "0"})
}

// makeEvilChains: ACT1 to ACT7.
func (f *forge) makeEvilChains() {
	act := func(name, rule, failure, why, value string) {
		claims := f.text(f.claims(object{"act": "ACT"}))
		f.isEvilToken(name, rule, failure, why, f.token("es", strings.Replace(claims, `"ACT"`, value, 1)))
	}
	one := func(iss, sub string) string { return fmt.Sprintf(`{"iss":%q,"sub":%q}`, iss, sub) }
	const iss = "https://sts.example"
	f.isEvil("no act", "TX18", "chain", "an agent is never invisible", object{"act": nil})
	act("act a string", "ACT1", "chain", "act is an object", `"agent:acme/researcher"`)
	act("act an array", "ACT1", "chain", "act is an object", `[`+one(iss, "agent:acme/researcher")+`]`)
	act("act null", "ACT1", "chain", "act is an object", `null`)
	act("act a number", "ACT1", "chain", "act is an object", `1`)
	act("act empty", "ACT1", "chain", "nobody acts", `{}`)
	act("act without iss", "ACT5", "chain", "an actor is a pair", `{"sub":"agent:acme/researcher"}`)
	act("act without sub", "ACT5", "chain", "an actor is a pair", `{"iss":"https://sts.example"}`)
	act("act of another issuer", "ACT5", "chain", "the same sub in another namespace is another actor", one("https://evil.example", "agent:acme/researcher"))
	act("act.sub a number", "ACT1", "chain", "of the wrong kind", `{"iss":"https://sts.example","sub":7}`)
	act("act.sub null", "ACT1", "chain", "of the wrong kind", `{"iss":"https://sts.example","sub":null}`)
	act("act.sub a user", "D1", "chain", "the user does not act", one(iss, "user:acme/okta|00u1"))
	act("act.sub a client id", "ACT10", "chain", "the client is not the actor", one(iss, "acme.researcher"))
	act("act.sub of another org", "TX24", "chain", "the current actor is of another tenant", one(iss, "agent:globex/researcher"))
	act("prior actor of another org", "TX24", "chain", "nobody in a chain is of another tenant",
		`{"iss":"https://sts.example","sub":"agent:acme/researcher","act":`+one(iss, "agent:globex/orchestrator")+`}`)
	act("prior actor of another issuer", "ACT5", "chain", "nobody in a chain is of another namespace",
		`{"iss":"https://sts.example","sub":"agent:acme/researcher","act":`+one("https://evil.example", "agent:acme/orchestrator")+`}`)
	act("prior actor an array", "ACT1", "chain", "act is an object at every depth", `{"iss":"https://sts.example","sub":"agent:acme/researcher","act":[]}`)
	act("prior actor null", "ACT1", "chain", "act is an object at every depth", `{"iss":"https://sts.example","sub":"agent:acme/researcher","act":null}`)
	act("prior actor empty", "ACT1", "chain", "act is an object at every depth", `{"iss":"https://sts.example","sub":"agent:acme/researcher","act":{}}`)
	act("sub twice in act", "JW9", "malformed", "the first reader sees one, the second the other",
		`{"iss":"https://sts.example","sub":"agent:acme/researcher","sub":"agent:acme/admin"}`)
	act("act twice in act", "JW9", "malformed", "some readers merge them",
		`{"iss":"https://sts.example","sub":"agent:acme/a","act":`+one(iss, "agent:acme/b")+`,"act":`+one(iss, "agent:acme/c")+`}`)
	f.isEvilToken("act twice", "JW9", "malformed", "some readers merge them into a chain that nobody made",
		f.token("es", strings.Replace(f.text(f.claims(nil)), `{`, `{"act":{"iss":"https://sts.example","sub":"agent:acme/admin"},`, 1)))
	f.isEvil("Act in place of act", "ACT13", "chain", "names are compared exactly", object{"act": nil, "Act": f.chain("researcher")})
	agents := strings.Fields("a b c d e f g h i j k")
	f.isEvil("eleven actors", "ACT6", "chain", "one more than the greatest depth",
		object{"act": f.chain(agents...), "lineage": strings.Fields("l1 l2 l3 l4 l5 l6 l7 l8 l9 l10")})
	act("a hundred actors", "ACT6", "malformed", "refused before any of them is allocated",
		strings.Repeat(`{"sub":"x","act":`, 100)+`{}`+strings.Repeat(`}`, 100))
	f.isEvil("more actors than tokens", "DESIGN 4", "chain", "a chain grows by one a token; the lineage knows how many there were",
		object{"act": f.chain("a", "b", "c")})
	f.isEvil("lineage a string", "DESIGN 4", "claims", "of the wrong kind", object{"lineage": "jti-1"})
	f.isEvil("own id in the lineage", "DESIGN 4", "chain", "no token is its own ancestor", object{"lineage": []string{"jti-2"}})
	f.isEvil("an id twice in the lineage", "DESIGN 4", "chain", "no token is two of its ancestors", object{"lineage": []string{"jti-1", "jti-1"}})
	f.isEvil("an id out of form in the lineage", "DESIGN 4", "chain", "no id has a space", object{"lineage": []string{"jti 1"}})
	f.isEvil("null in the lineage", "DESIGN 4", "claims", "of the wrong kind", object{"lineage": []any{nil}})
	var long []string
	for n := range 65 {
		long = append(long, fmt.Sprintf("l%d", n))
	}
	f.isEvil("lineage of 65", "DESIGN 4", "chain", "one more than there may be", object{"lineage": long})
}
