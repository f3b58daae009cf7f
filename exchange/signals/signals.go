// Package signals reads security event tokens (RFC 8417) as the Shared Signals Framework, CAEP and RISC profile them, and says
// what each is to have as an effect. It is pure: whoever calls it has verified the signature, and puts the effect into force.
package signals

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/revocation"
)

// TokenType is the typ of a security event token, as jose.Message.Type has it (SS1).
const TokenType = "secevent+jwt"

// The bounds of a SET.
const (
	Skew   = 10 * time.Second   // how far the transmitter's clock may be ahead of ours (JW11)
	MaxAge = 7 * 24 * time.Hour // since its iat: for so long a transmitter may try to deliver it
	maxID  = 256                // bytes of a jti
)

// Code is a code of RFC 8935 §2.4, or SSF's own.
type Code string

// The codes (SS4).
const (
	InvalidRequest  Code = "invalid_request"  // it cannot be parsed, or is no SET of the profile
	InvalidKey      Code = "invalid_key"      // no key of the transmitter verifies it
	InvalidIssuer   Code = "invalid_issuer"   // it is not of the stream's transmitter, or there is no such stream
	InvalidAudience Code = "invalid_audience" // it is not for us
	AccessDenied    Code = "access_denied"    // its transmitter may not say that
)

// Refusal is why a SET is not taken, in words that its transmitter may be shown.
type Refusal struct {
	Code        Code
	Description string
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Description }

func malformed(description string) *Refusal { return &Refusal{InvalidRequest, description} }

// Event is a SET that was read. Whether anything in it is true, the signature says.
type Event struct {
	ID       string // jti
	Issuer   string // iss
	Audience []string
	IssuedAt time.Time
	occurred time.Time // toe; zero when it does not say
	kind     string    // the event's URI
	body     body
	subject  subject
}

// body is what the events that mean something here say. Reasons are for people, and not read: they are the transmitter's text.
type body struct {
	Timestamp      *float64 `json:"event_timestamp"`
	ChangeType     string   `json:"change_type"`
	CredentialType string   `json:"credential_type"`
}

// Parse reads the claims of a SET. It judges their form alone, by rules that are the same for every stream.
func Parse(payload []byte) (Event, error) {
	var c struct {
		Issuer   string                     `json:"iss"`
		ID       string                     `json:"jti"`
		Audience json.RawMessage            `json:"aud"`
		IssuedAt *float64                   `json:"iat"`
		Occurred *float64                   `json:"toe"`
		Subject  json.RawMessage            `json:"sub_id"`
		Events   map[string]json.RawMessage `json:"events"`
	}
	all := map[string]json.RawMessage{}
	if jose.Decode(payload, &all) != nil || jose.DecodeClaims(payload, &c) != nil {
		return Event{}, malformed("its claims are malformed")
	}
	for _, name := range []string{"sub", "exp"} { // of a login: a SET must never pass for one
		if _, has := all[name]; has {
			return Event{}, malformed("a SET has no " + name)
		}
	}
	switch {
	case c.Issuer == "":
		return Event{}, malformed("it has no iss")
	case c.ID == "" || len(c.ID) > maxID || strings.ContainsFunc(c.ID, func(r rune) bool { return r < ' ' || r > '~' }):
		return Event{}, malformed("it needs a jti of at most 256 printable characters")
	case c.IssuedAt == nil:
		return Event{}, malformed("it has no iat")
	case len(c.Events) != 1:
		return Event{}, malformed("events must have exactly one event")
	case len(c.Subject) == 0:
		return Event{}, malformed("it has no sub_id at the top level")
	}
	e := Event{ID: c.ID, Issuer: c.Issuer, IssuedAt: seconds(*c.IssuedAt)}
	if c.Occurred != nil {
		e.occurred = seconds(*c.Occurred)
	}
	var err error
	if e.Audience, err = audience(c.Audience); err != nil {
		return Event{}, err
	}
	if e.subject, err = readSubject(c.Subject); err != nil {
		return Event{}, err
	}
	for kind, raw := range c.Events {
		if e.kind = kind; jose.DecodeClaims(raw, &e.body) != nil {
			return Event{}, malformed("its event is malformed")
		}
	}
	return e, nil
}

// Email is the e-mail address by which an event names its user, or empty. Whose it is, the event does not say: a directory knows.
func (e Event) Email() string {
	who := e.subject
	if who.Format == formatComplex {
		who = who.complex["user"]
	}
	return who.Email
}

func audience(raw json.RawMessage) ([]string, error) {
	var one string
	var several []string
	switch {
	case jose.DecodeClaims(raw, &one) == nil && one != "":
		return []string{one}, nil
	case jose.DecodeClaims(raw, &several) == nil && len(several) > 0:
		return several, nil
	}
	return nil, malformed("aud must be a string or an array of strings")
}

// Stream is by what registration a SET is judged.
type Stream struct {
	Org         delegation.OrgID
	IssuerName  string // of the issuer whose users it tells of, in their ids
	IssuerURL   string
	Tenant      string // of the issuer's users who are the org's; empty: all are
	Transmitter string // iss of its SETs
	Audience    string
	ID          string   // the transmitter's own id for it, of verification events; empty: any
	Addressee   string   // the user's id that the event's e-mail address is of; empty: nobody's, or several users'
	Opaque      bool     // an opaque sub_id is the issuer's sub
	Critical    []string // members of a complex subject that the transmitter wants understood, or the event discarded
}

// Effect is what a SET does.
type Effect struct {
	Event    string          // session-revoked
	Kind     revocation.Kind // empty: nothing
	ID       string
	Departed bool      // the user has left for good
	Before   time.Time // tokens of logins up to then are refused; no newer ones (SS7)
	Why      string    // it does nothing
}

// Judge says what a SET of the stream is to do. An event that means nothing here is no error: its transmitter would only send
// it again.
func (s Stream) Judge(e Event, now time.Time) (Effect, error) {
	switch {
	case e.Issuer != s.Transmitter:
		return Effect{}, &Refusal{InvalidIssuer, "the SET is not of the transmitter of a stream here"}
	case !slices.Contains(e.Audience, s.Audience):
		return Effect{}, &Refusal{InvalidAudience, "its aud is not the one that the stream is registered with"}
	case e.IssuedAt.After(now.Add(Skew)): // JW11
		return Effect{}, malformed("it is from the future")
	case e.IssuedAt.Before(now.Add(-MaxAge)):
		return Effect{}, malformed("it was issued more than 7 days ago")
	}
	known, ok := events[e.kind]
	switch {
	case !ok:
		return nothing("unknown", "the event is not one that is handled here"), nil
	case known.verifies:
		return s.verification(e)
	case known.credential && e.body.CredentialType == "":
		return Effect{}, malformed("the event has no credential_type")
	case known.changes && !slices.Contains(changeTypes, e.body.ChangeType):
		return Effect{}, malformed("change_type must be create, revoke, update or delete")
	case known.changes && e.body.ChangeType == "create":
		return nothing(known.name, "a credential that is new ends nothing"), nil
	}
	effect, err := s.target(e.subject, known)
	if err != nil || effect.Kind == "" {
		return effect, err
	}
	if effect.Before, err = e.time(now); err != nil {
		return Effect{}, err
	}
	effect.Departed = known.departs && !e.subject.onDevice() // it ends connections, which no new login brings back
	return effect, nil
}

func nothing(event, why string) Effect { return Effect{Event: event, Why: why} }

// verification proves that the stream works (SS5). We ask for none, so there is no state of ours to compare.
func (s Stream) verification(e Event) (Effect, error) {
	if e.subject.Format != formatOpaque || s.ID != "" && e.subject.ID != s.ID {
		return Effect{}, malformed("the sub_id of a verification event must be the stream's id, as opaque")
	}
	return nothing("verification", "the stream works"), nil
}

// event is a kind of event that is handled.
type event struct {
	name       string
	session    bool // ends one session, when one is named
	credential bool // must say credential_type
	changes    bool // must say change_type
	departs    bool // its user has left
	verifies   bool
}

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
)

// events are all that are handled (SS2).
var events = map[string]event{
	caep + "session-revoked":       {name: "session-revoked", session: true},
	caep + "credential-change":     {name: "credential-change", credential: true, changes: true},
	risc + "account-disabled":      {name: "account-disabled", departs: true},
	risc + "account-purged":        {name: "account-purged", departs: true},
	risc + "sessions-revoked":      {name: "sessions-revoked"},
	risc + "credential-compromise": {name: "credential-compromise", credential: true},
	ssf + "verification":           {name: "verification", verifies: true},
}

var changeTypes = []string{"create", "revoke", "update", "delete"}

// time is when what the event tells of happened: at most Skew later than now, so that no SET can stop logins that are yet to come.
func (e Event) time(now time.Time) (time.Time, error) {
	at := e.IssuedAt
	if !e.occurred.IsZero() {
		at = e.occurred
	}
	switch t := e.body.Timestamp; {
	case t == nil:
	case *t <= 0:
		return time.Time{}, malformed("event_timestamp must be a time")
	case *t >= milliseconds:
		at = seconds(*t / 1000)
	default:
		at = seconds(*t)
	}
	if latest := now.Add(Skew).Truncate(time.Second); at.After(latest) {
		at = latest
	}
	return at, nil
}

// milliseconds: drafts of CAEP counted event_timestamp in them, and some transmitters still do. In seconds, it is the year 5138.
const milliseconds = 1e11

// seconds is a NumericDate without its fraction (RFC 7519 §2), which logins have none of either.
func seconds(f float64) time.Time {
	if math.IsNaN(f) || f < 0 {
		f = 0
	}
	return time.Unix(int64(min(f, 253402300799)), 0).UTC() // the year 9999
}

// text reports whether a value that an issuer chose can be compared with what its logins say.
func text(s string) bool {
	return s != "" && len(s) <= 512 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
