package delegation_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/jose"
)

// adminClaims are an administrator's token's claims; a nil value in change takes one away.
func adminClaims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": delegationtest.IssuerURL, "aud": delegationtest.IssuerURL, "sub": "user:acme/okta|ann", "org_id": "acme", "role": "auditor",
		"jti": "admin-1", "iat": noon.Unix(), "exp": noon.Add(15 * time.Minute).Unix(), "subject_iat": noon.Add(-time.Minute).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// revoked refuses one subject, one id, or everything for want of knowing.
type revoked struct {
	subject, id string
	err         error
}

func (r revoked) Check(c *delegation.Claims, _ time.Time) error {
	if r.err != nil || c.Subject == r.subject || c.ID == r.id {
		return cmp.Or(r.err, delegation.ErrRevoked)
	}
	return nil
}

func (r revoked) CheckKey(string, time.Time) error { return nil }

// TestVerifyAdministrator: JW3, JW4, JW5, JW11. An administrator's token is held to the rules of an access token, and is none.
func TestVerifyAdministrator(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	sign := func(typ string, claims any) string {
		payload, err := jose.Encode(claims)
		if err != nil {
			t.Fatal(err)
		}
		return i.Sign(t, typ, payload)
	}
	is := func(change map[string]any) string { return sign(delegation.TypeAdministrator, adminClaims(change)) }
	good := is(nil)
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	last := func(s string) string { // another first character of the last part
		at := strings.LastIndexByte(s, '.') + 1
		flipped := byte('A')
		if s[at] == flipped {
			flipped = 'B'
		}
		return s[:at] + string(flipped) + s[at+1:]
	}
	kid := i.Signer().Key().KeyID()
	other := delegationtest.NewIssuer(t)
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := jose.NewSigner(kid, jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	payloadJSON, err := jose.Encode(adminClaims(nil))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := stranger.Sign(delegation.TypeAdministrator, payloadJSON)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token   string
		revoked revoked
		want    error
	}{
		"good":                           {good, revoked{}, nil},
		"without subject_iat":            {is(map[string]any{"subject_iat": nil}), revoked{}, nil},
		"an operator's":                  {is(map[string]any{"org_id": "_platform", "sub": "operator:okta|ann", "role": "operator"}), revoked{}, nil},
		"JW4 an access token":            {i.Token(t, nil), revoked{}, delegation.ErrType},
		"JW4 typ of an access token":     {sign(delegation.TokenType, adminClaims(nil)), revoked{}, delegation.ErrType},
		"JW4 typ of nothing":             {sign("JWT", adminClaims(nil)), revoked{}, delegation.ErrType},
		"JW4 typ of a transaction token": {sign(delegation.TypeTransactionToken, adminClaims(nil)), revoked{}, delegation.ErrType},
		"JW1 alg none":                   {encode(`{"alg":"none","typ":"admin+jwt","kid":"`+kid+`"}`) + "." + payload + ".", revoked{}, delegation.ErrMalformed},
		"JW1 alg HS256":                  {encode(`{"alg":"HS256","typ":"admin+jwt","kid":"`+kid+`"}`) + "." + payload + "." + signature, revoked{}, delegation.ErrAlgorithm},
		"JW3 another key, same kid":      {forged, revoked{}, delegation.ErrSignature},
		"JW3 a key of nobody's":          {other.Sign(t, delegation.TypeAdministrator, payloadJSON), revoked{}, delegation.ErrUnknownKey},
		"a tampered signature":           {last(good), revoked{}, delegation.ErrSignature},
		"a tampered role":                {header + "." + encode(strings.Replace(string(payloadJSON), "auditor", "org-admin", 1)) + "." + signature, revoked{}, delegation.ErrSignature},
		"another issuer":                 {is(map[string]any{"iss": "https://else.example"}), revoked{}, delegation.ErrIssuer},
		"JW10 another audience":          {is(map[string]any{"aud": delegationtest.Audience}), revoked{}, delegation.ErrAudience},
		"JW10 audiences in a list":       {is(map[string]any{"aud": []string{delegationtest.IssuerURL}}), revoked{}, delegation.ErrMalformed},
		"no audience":                    {is(map[string]any{"aud": nil}), revoked{}, delegation.ErrAudience},
		"no sub":                         {is(map[string]any{"sub": nil}), revoked{}, delegation.ErrClaims},
		"no org":                         {is(map[string]any{"org_id": nil}), revoked{}, delegation.ErrClaims},
		"no role":                        {is(map[string]any{"role": nil}), revoked{}, delegation.ErrClaims},
		"no jti":                         {is(map[string]any{"jti": nil}), revoked{}, delegation.ErrClaims},
		"no exp":                         {is(map[string]any{"exp": nil}), revoked{}, delegation.ErrClaims},
		"no iat":                         {is(map[string]any{"iat": nil}), revoked{}, delegation.ErrClaims},
		"lives for too long":             {is(map[string]any{"exp": noon.Add(15*time.Minute + time.Second).Unix()}), revoked{}, delegation.ErrClaims},
		"a login that is later":          {is(map[string]any{"subject_iat": noon.Add(time.Second).Unix()}), revoked{}, delegation.ErrClaims},
		"a claim that it has not":        {is(map[string]any{"scope": "everything"}), revoked{}, delegation.ErrMalformed},
		"expired": {is(map[string]any{
			"iat": noon.Add(-15 * time.Minute).Unix(), "exp": noon.Add(-5 * time.Second).Unix(), "subject_iat": nil}), revoked{}, delegation.ErrExpired},
		"JW11 from the future":   {is(map[string]any{"iat": noon.Add(time.Minute).Unix()}), revoked{}, delegation.ErrNotYetValid},
		"its subject is revoked": {good, revoked{subject: "user:acme/okta|ann"}, delegation.ErrRevoked},
		"it was signed out":      {good, revoked{id: "admin-1"}, delegation.ErrRevoked},
		"revocations unknown":    {good, revoked{err: delegation.ErrUnavailable}, delegation.ErrUnavailable},
		"too long":               {good + strings.Repeat("A", delegation.MaxTokenSize), revoked{}, delegation.ErrMalformed},
		"nothing":                {"", revoked{}, delegation.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(i)
			cfg.Revocations = c.revoked
			a, err := newVerifier(t, cfg).VerifyAdministrator(context.Background(), c.token)
			if !errors.Is(err, c.want) {
				t.Errorf("%+v, %v; want %v", a, err, c.want)
			}
			if c.want == nil && (a.Issuer != delegationtest.IssuerURL || a.ID != "admin-1" || !a.Expiry.Equal(noon.Add(15*time.Minute))) {
				t.Errorf("read as %+v", a)
			}
			if err != nil && strings.Contains(err.Error(), signature) {
				t.Error("the error holds the token")
			}
		})
	}
}

// TestAdministratorIsNoAccessToken: JW4. The other way round: nothing that takes access tokens takes an administrator's.
func TestAdministratorIsNoAccessToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	payload, err := jose.Encode(adminClaims(map[string]any{"aud": delegationtest.Audience}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, config(i)).Verify(t.Context(), i.Sign(t, delegation.TypeAdministrator, payload)); !errors.Is(err, delegation.ErrType) {
		t.Errorf("got %v", err)
	}
}

// TestAdministratorRoundTrip: what is signed is what is read, and what could not be read is not signed.
func TestAdministratorRoundTrip(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	a := delegation.Administrator{
		Issuer: delegationtest.IssuerURL, Subject: "workload:acme/ci|repo:x", OrgID: "acme", Role: "org-admin", ID: "admin-2",
		IssuedAt: noon, Expiry: noon.Add(time.Minute), SubjectIssuedAt: noon.Add(-time.Hour),
	}
	u, err := a.Unsigned()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	got, err := newVerifier(t, config(i)).VerifyAdministrator(t.Context(), i.Sign(t, u.Type(), payload))
	if err != nil || got != a {
		t.Errorf("got %+v, %v\nwant %+v", got, err, a)
	}
	for name, spoil := range map[string]func(*delegation.Administrator){
		"no issuer":    func(a *delegation.Administrator) { a.Issuer = "" },
		"no subject":   func(a *delegation.Administrator) { a.Subject = "" },
		"long subject": func(a *delegation.Administrator) { a.Subject = strings.Repeat("a", 4096) },
		"escape":       func(a *delegation.Administrator) { a.Subject = "user:acme/okta|\x1b" },
		"no org":       func(a *delegation.Administrator) { a.OrgID = "" },
		"no role":      func(a *delegation.Administrator) { a.Role = "" },
		"no id":        func(a *delegation.Administrator) { a.ID = "" },
		"no end":       func(a *delegation.Administrator) { a.Expiry = time.Time{} },
		"too long":     func(a *delegation.Administrator) { a.Expiry = a.IssuedAt.Add(16 * time.Minute) },
	} {
		bad := a
		spoil(&bad)
		if _, err := bad.Unsigned(); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}
