package signals_test

import (
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/revocation"
)

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
	idp  = "https://idp.test"
)

var (
	now    = time.Unix(1_800_000_000, 0).UTC()
	stream = signals.Stream{
		Org: "acme", IssuerName: "okta", IssuerURL: idp, Tenant: "acme-1", Transmitter: idp, Audience: "obo-events", ID: "stream-1",
	}
)

type object = map[string]any

func issSub(sub string) object { return object{"format": "iss_sub", "iss": idp, "sub": sub} }
func opaque(id string) object  { return object{"format": "opaque", "id": id} }

func complexSubject(members object) object {
	out := object{"format": "complex"}
	maps.Copy(out, members)
	return out
}

// claims are those of a good SET, with changes: a nil value removes one.
func claims(event string, body object, changes object) object {
	c := object{
		"iss": idp, "aud": "obo-events", "iat": now.Unix(), "jti": "j-1", "sub_id": issSub("alice"), "events": object{event: body},
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func judge(t *testing.T, s signals.Stream, c object) (signals.Effect, error) {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	e, err := signals.Parse(payload)
	if err != nil {
		return signals.Effect{}, err
	}
	return s.Judge(e, now)
}

// TestRefusals: what is no SET of the stream is refused, with the code of RFC 8935.
func TestRefusals(t *testing.T) {
	t.Parallel()
	revoked := func(changes object) object { return claims(caep+"session-revoked", object{}, changes) }
	change := func(body object) object { return claims(caep+"credential-change", body, nil) }
	two := object{caep + "session-revoked": object{}, risc + "account-disabled": object{}}
	for name, c := range map[string]struct {
		claims object
		want   signals.Code
	}{
		"SS1 sub":                     {revoked(object{"sub": "alice"}), signals.InvalidRequest},
		"SS1 exp":                     {revoked(object{"exp": now.Unix() + 60}), signals.InvalidRequest},
		"SS1 no iss":                  {revoked(object{"iss": nil}), signals.InvalidRequest},
		"SS1 no iat":                  {revoked(object{"iat": nil}), signals.InvalidRequest},
		"SS1 no jti":                  {revoked(object{"jti": nil}), signals.InvalidRequest},
		"SS1 jti with a line break":   {revoked(object{"jti": "a\nb"}), signals.InvalidRequest},
		"SS1 no events":               {revoked(object{"events": nil}), signals.InvalidRequest},
		"SS1 no event":                {revoked(object{"events": object{}}), signals.InvalidRequest},
		"SS1 two events":              {revoked(object{"events": two}), signals.InvalidRequest},
		"SS1 event is no object":      {revoked(object{"events": object{caep + "session-revoked": 1}}), signals.InvalidRequest},
		"SS1 no sub_id":               {revoked(object{"sub_id": nil}), signals.InvalidRequest},
		"SS1 another iss":             {revoked(object{"iss": "https://evil.test"}), signals.InvalidIssuer},
		"SS1 no aud":                  {revoked(object{"aud": nil}), signals.InvalidRequest},
		"SS1 another aud":             {revoked(object{"aud": "other"}), signals.InvalidAudience},
		"SS1 JW11 of the future":      {revoked(object{"iat": now.Unix() + 60}), signals.InvalidRequest},
		"SS1 too old":                 {revoked(object{"iat": now.Add(-8 * 24 * time.Hour).Unix()}), signals.InvalidRequest},
		"SS2 no credential_type":      {change(object{"change_type": "revoke"}), signals.InvalidRequest},
		"SS2 no change_type":          {change(object{"credential_type": "password"}), signals.InvalidRequest},
		"SS2 unknown change_type":     {change(object{"credential_type": "password", "change_type": "x"}), signals.InvalidRequest},
		"SS2 timestamp is no time":    {claims(caep+"session-revoked", object{"event_timestamp": -1}, nil), signals.InvalidRequest},
		"SS3 no format":               {revoked(object{"sub_id": object{"sub": "alice"}}), signals.InvalidRequest},
		"SS3 iss_sub without sub":     {revoked(object{"sub_id": object{"format": "iss_sub", "iss": idp}}), signals.InvalidRequest},
		"SS3 email without email":     {revoked(object{"sub_id": object{"format": "email"}}), signals.InvalidRequest},
		"SS3 email of two lines":      {revoked(object{"sub_id": object{"format": "email", "email": "a\nb"}}), signals.InvalidRequest},
		"SS3 another issuer":          {revoked(object{"sub_id": object{"format": "iss_sub", "iss": "https://b.test", "sub": "a"}}), signals.AccessDenied},
		"SS3 another tenant":          {revoked(object{"sub_id": complexSubject(object{"user": issSub("a"), "tenant": opaque("b")})}), signals.AccessDenied},
		"SS3 complex within complex":  {revoked(object{"sub_id": complexSubject(object{"user": complexSubject(nil)})}), signals.InvalidRequest},
		"SS3 complex of nobody":       {revoked(object{"sub_id": complexSubject(nil)}), signals.InvalidRequest},
		"SS3 session's user is other": {revoked(object{"sub_id": complexSubject(object{"session": opaque("s"), "user": object{"format": "iss_sub", "iss": "https://b.test", "sub": "a"}})}), signals.AccessDenied},
		"SS5 another stream":          {claims(ssf+"verification", object{}, object{"sub_id": opaque("stream-2")}), signals.InvalidRequest},
		"SS5 of a user":               {claims(ssf+"verification", object{}, nil), signals.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			effect, err := judge(t, stream, c.claims)
			refusal, ok := errors.AsType[*signals.Refusal](err)
			if !ok || refusal.Code != c.want || effect.Kind != "" {
				t.Errorf("got %+v, %v; want %s", effect, err, c.want)
			}
		})
	}
}

// TestEffects: what each event does, and to whom.
func TestEffects(t *testing.T) {
	t.Parallel()
	const alice = "user:acme/okta|alice"
	mapped := stream
	mapped.Opaque = true
	critical := stream
	critical.Critical = []string{"user", "device"}
	credential := func(change string) object {
		return object{"credential_type": "password", "change_type": change, "event_timestamp": now.Unix()}
	}
	addressed := stream
	addressed.Addressee = alice
	email := object{"format": "email", "email": "alice@acme.test"}
	onDevice := complexSubject(object{"user": issSub("alice"), "device": opaque("d")})
	all := complexSubject(object{"user": issSub("alice"), "session": opaque("s-1"), "tenant": opaque("acme-1")})
	for name, c := range map[string]struct {
		stream signals.Stream
		claims object
		kind   revocation.Kind // empty: nothing
		id     string
		left   bool
	}{
		"SS2 SS7 session-revoked":           {stream, claims(caep+"session-revoked", object{}, nil), revocation.Subject, alice, false},
		"SS2 several audiences":             {stream, claims(caep+"session-revoked", object{}, object{"aud": []string{"x", "obo-events"}}), revocation.Subject, alice, false},
		"SS2 credential revoked":            {stream, claims(caep+"credential-change", credential("revoke"), nil), revocation.Subject, alice, false},
		"SS2 credential updated":            {stream, claims(caep+"credential-change", credential("update"), nil), revocation.Subject, alice, false},
		"SS2 credential deleted":            {stream, claims(caep+"credential-change", credential("delete"), nil), revocation.Subject, alice, false},
		"SS2 credential created":            {stream, claims(caep+"credential-change", credential("create"), nil), "", "", false},
		"SS2 SS7 account-disabled":          {stream, claims(risc+"account-disabled", object{"reason": "hijacking"}, nil), revocation.Subject, alice, true},
		"SS2 SS7 account-purged":            {stream, claims(risc+"account-purged", object{}, nil), revocation.Subject, alice, true},
		"SS2 sessions-revoked":              {stream, claims(risc+"sessions-revoked", object{}, nil), revocation.Subject, alice, false},
		"SS2 credential-compromise":         {stream, claims(risc+"credential-compromise", object{"credential_type": "password"}, nil), revocation.Subject, alice, false},
		"SS2 an event of somebody else":     {stream, claims("https://other.test/event", object{}, nil), "", "", false},
		"SS3 a session":                     {stream, claims(caep+"session-revoked", object{}, object{"sub_id": all}), revocation.Session, "s-1", false},
		"SS3 all of a user, not one":        {stream, claims(risc+"sessions-revoked", object{}, object{"sub_id": all}), revocation.Subject, alice, false},
		"SS3 a session alone":               {stream, claims(caep+"session-revoked", object{}, object{"sub_id": complexSubject(object{"session": opaque("s-2")})}), revocation.Session, "s-2", false},
		"SS3 a user's sessions on a device": {stream, claims(caep+"session-revoked", object{}, object{"sub_id": onDevice}), revocation.Subject, alice, false},
		"SS3 a device's credential":         {stream, claims(caep+"credential-change", credential("revoke"), object{"sub_id": onDevice}), revocation.Subject, alice, false},
		"SS3 a device is not the account":   {stream, claims(risc+"account-purged", object{}, object{"sub_id": onDevice}), revocation.Subject, alice, false},
		"SS3 a session on a device":         {stream, claims(caep+"session-revoked", object{}, object{"sub_id": complexSubject(object{"user": issSub("alice"), "session": opaque("s-1"), "device": opaque("d")})}), revocation.Session, "s-1", false},
		"SS3 a device alone":                {stream, claims(caep+"session-revoked", object{}, object{"sub_id": complexSubject(object{"device": opaque("d")})}), "", "", false},
		"SS3 a device, critical":            {critical, claims(caep+"session-revoked", object{}, object{"sub_id": onDevice}), "", "", false},
		"SS3 no device, critical":           {critical, claims(caep+"session-revoked", object{}, object{"sub_id": all}), revocation.Session, "s-1", false},
		"SS3 an unknown member":             {stream, claims(caep+"session-revoked", object{}, object{"sub_id": complexSubject(object{"user": issSub("alice"), "application": opaque("d")})}), "", "", false},
		"SS3 opaque, mapped":                {mapped, claims(caep+"session-revoked", object{}, object{"sub_id": opaque("alice")}), revocation.Subject, alice, false},
		"SS3 opaque, not mapped":            {stream, claims(caep+"session-revoked", object{}, object{"sub_id": opaque("alice")}), "", "", false},
		"SS3 email":                         {mapped, claims(caep+"session-revoked", object{}, object{"sub_id": object{"format": "email", "email": "a@acme.test"}}), "", "", false},
		"SS3 email, known":                  {addressed, claims(caep+"session-revoked", object{}, object{"sub_id": email}), revocation.Subject, alice, false},
		"SS3 email, account-disabled":       {addressed, claims(risc+"account-disabled", object{}, object{"sub_id": email}), revocation.Subject, alice, true},
		"SS3 email in a complex subject":    {addressed, claims(caep+"session-revoked", object{}, object{"sub_id": complexSubject(object{"user": email, "tenant": opaque("acme-1")})}), revocation.Subject, alice, false},
		"SS3 email on a device":             {addressed, claims(risc+"account-disabled", object{}, object{"sub_id": complexSubject(object{"user": email, "device": opaque("d")})}), revocation.Subject, alice, false},
		"SS3 phone_number":                  {addressed, claims(caep+"session-revoked", object{}, object{"sub_id": object{"format": "phone_number", "phone_number": "+1"}}), "", "", false},
		"SS3 a sub that cannot be":          {stream, claims(caep+"session-revoked", object{}, object{"sub_id": issSub("\u00e9")}), "", "", false},
		"SS5 verification":                  {stream, claims(ssf+"verification", object{"state": "x"}, object{"sub_id": opaque("stream-1")}), "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := judge(t, c.stream, c.claims)
			if err != nil || e.Kind != c.kind || e.ID != c.id || e.Departed != c.left {
				t.Errorf("%+v, %v", e, err)
			}
			if (e.Kind == "") != (e.Why != "") {
				t.Errorf("no word on why nothing is done: %+v", e)
			}
		})
	}
}

// TestTime: SS7. The effect is as of the event, never of when it was heard of, and never of the future.
func TestTime(t *testing.T) {
	t.Parallel()
	before := now.Add(-time.Hour)
	for name, c := range map[string]struct {
		body, changes object
		want          time.Time
	}{
		"SS7 event_timestamp":         {object{"event_timestamp": before.Unix()}, object{"toe": now.Unix() - 5}, before},
		"SS7 with a fraction":         {object{"event_timestamp": float64(before.Unix()) + 0.7}, nil, before},
		"SS7 in milliseconds":         {object{"event_timestamp": before.UnixMilli() + 643}, nil, before},
		"SS7 toe":                     {object{}, object{"toe": before.Unix()}, before},
		"SS7 iat":                     {object{}, object{"iat": before.Unix()}, before},
		"SS7 of the future":           {object{"event_timestamp": now.Add(time.Hour).Unix()}, nil, now.Add(signals.Skew)},
		"SS7 toe of the future":       {object{}, object{"toe": now.Add(time.Hour).Unix()}, now.Add(signals.Skew)},
		"SS7 far beyond every future": {object{"event_timestamp": 1e300}, nil, now.Add(signals.Skew)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := judge(t, stream, claims(caep+"session-revoked", c.body, c.changes))
			if err != nil || !e.Before.Equal(c.want) {
				t.Errorf("%+v, %v; want %s", e, err, c.want)
			}
		})
	}
}

// FuzzParse: nothing that a stranger sends breaks the reader, and what it takes is bounded by the law of SETs (SS1, SS7).
func FuzzParse(f *testing.F) {
	for _, c := range []object{
		claims(caep+"session-revoked", object{"event_timestamp": 1.5}, nil),
		claims(risc+"account-disabled", object{}, object{"sub_id": complexSubject(object{"user": issSub("a"), "session": opaque("s")})}),
		claims(ssf+"verification", object{}, object{"sub_id": opaque("stream-1"), "toe": 1}),
	} {
		seed, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := signals.Parse(payload)
		if err != nil {
			if _, ok := errors.AsType[*signals.Refusal](err); !ok {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		if e.ID == "" || e.Issuer == "" || len(e.Audience) == 0 {
			t.Fatalf("half an event: %+v", e)
		}
		effect, err := stream.Judge(e, now)
		if err == nil && (effect.Before.After(now.Add(signals.Skew)) || (effect.Kind == "") != (effect.Why != "")) {
			t.Fatalf("%+v", effect)
		}
	})
}
