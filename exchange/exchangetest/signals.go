package exchangetest

import (
	"crypto/rand"
	"testing"

	"github.com/onbehalf/obo/exchange/registry"
)

// What acme's stream of security events is registered with.
const (
	StreamName     = "okta-events"
	StreamAudience = "obo-events"
)

// The kinds of events that tests send.
const (
	SessionRevoked  = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	AccountDisabled = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
)

// Listen registers a stream of the identity provider's events with acme. Its transmitter has the provider's keys.
func (w *World) Listen(t testing.TB, change func(*registry.SignalStream)) {
	t.Helper()
	stream := registry.SignalStream{
		Name: StreamName, Issuer: "okta", Transmitter: w.IDP.URL, Audience: StreamAudience, JWKS: w.IDP.keys.Load().JSON(),
	}
	if change != nil {
		change(&stream)
	}
	w.Apply(t, Acme, func(d *registry.Document) { d.SignalStreams = []registry.SignalStream{stream} })
}

// SET is a security event token of now about a user, with what change makes of it. The claim "!typ" is the header's typ.
func (p *IDP) SET(t testing.TB, event, user string, change func(Claims)) string {
	t.Helper()
	now := p.clock.Now()
	return sign(t, p.Key, "secevent+jwt", Claims{
		"iss": p.URL, "aud": StreamAudience, "iat": now.Unix(), "jti": rand.Text(),
		"sub_id": map[string]any{"format": "iss_sub", "iss": p.URL, "sub": user},
		"events": map[string]any{event: map[string]any{"event_timestamp": now.Unix()}},
	}, change)
}
