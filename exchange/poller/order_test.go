package poller

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// TestAnyOrder: SS4, SS4b, SS7. Events of users and of sessions and logins, in any order, however often and by whichever way an event
// comes: a login and all that began with it are refused if and only if an event that has come is about it, and not older than it.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		m := &model{receiving: r, t: t, round: round}
		for range rapid.IntRange(4, 16).Draw(rt, "steps") {
			switch step := rapid.IntRange(0, 5).Draw(rt, "step"); {
			case step == 0:
				m.Advance(t, time.Duration(rapid.IntRange(1, 8).Draw(rt, "seconds"))*time.Second)
			case step == 1 || len(m.logins) == 0:
				m.login(rapid.IntRange(0, 1).Draw(rt, "user"), rapid.IntRange(0, 1).Draw(rt, "session"))
			case step == 2 || len(m.events) == 0:
				m.event(rapid.SampledFrom([]string{exchangetest.SessionRevoked, exchangetest.AccountDisabled}).Draw(rt, "kind"),
					rapid.IntRange(0, 1).Draw(rt, "user"), rapid.IntRange(-1, 1).Draw(rt, "session"), rapid.IntRange(0, 20).Draw(rt, "ago"))
			case step == 3:
				m.push(rapid.SampledFrom(m.events).Draw(rt, "pushed"))
			case step == 4:
				m.poll(rapid.SliceOfN(rapid.SampledFrom(m.events), 0, 4).Draw(rt, "polled"))
			default:
				m.exchange(rapid.SampledFrom(m.logins).Draw(rt, "again"))
			}
			m.check(rt)
		}
	})
}

type model struct {
	*receiving
	t      *testing.T
	round  int
	logins []*loggedIn
	events []*happened
}

type loggedIn struct {
	user, session string
	at            time.Time
	idToken       string
	tokens        []string
}

type happened struct {
	set           string
	user, session string // no session: all of the user
	at            time.Time
	came          bool
}

func (m *model) user(n int) string                 { return fmt.Sprintf("user-%d-%d", m.round, n) }
func (m *model) session(user string, n int) string { return fmt.Sprintf("%s-session-%d", user, n) }

// revoked is the law.
func (m *model) revoked(l *loggedIn) bool {
	for _, e := range m.events {
		if e.came && e.user == l.user && (e.session == "" || e.session == l.session) && !l.at.After(e.at) {
			return true
		}
	}
	return false
}

func (m *model) login(user, session int) {
	l := &loggedIn{user: m.user(user), at: m.Clock.Now()}
	l.session = m.session(l.user, session)
	l.idToken = m.IDP.IDToken(m.t, l.user, func(c exchangetest.Claims) { c["sid"] = l.session })
	m.logins = append(m.logins, l)
	m.exchange(l)
}

func (m *model) exchange(l *loggedIn) {
	out, err := m.Service.Exchange(m.t.Context(), m.Orchestrator.Credential(), exchangetest.FirstHop(l.idToken, "github:read"))
	switch {
	case m.revoked(l):
		if exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
			m.t.Errorf("a login that was ended begins anew: %v", err)
		}
	case err != nil:
		m.t.Error(err)
	default:
		l.tokens = append(l.tokens, out.AccessToken)
	}
}

func (m *model) event(kind string, user, session, ago int) {
	e := &happened{user: m.user(user), at: m.Clock.Now().Add(-time.Duration(ago) * time.Second)}
	who := map[string]any{"format": "iss_sub", "iss": m.IDP.URL, "sub": e.user}
	subject := who
	if session >= 0 {
		subject = map[string]any{"format": "complex", "user": who,
			"session": map[string]any{"format": "opaque", "id": m.session(e.user, session)}}
		if kind == exchangetest.SessionRevoked {
			e.session = m.session(e.user, session)
		}
	}
	e.set = m.IDP.SET(m.t, kind, e.user, func(c exchangetest.Claims) {
		c["sub_id"], c["events"] = subject, map[string]any{kind: map[string]any{"event_timestamp": e.at.Unix()}}
	})
	m.events = append(m.events, e)
}

func (m *model) push(e *happened) {
	if err := m.Service.TakeSignal(m.t.Context(), exchangetest.Acme, exchangetest.StreamName, e.set); err != nil {
		m.t.Error(err)
	}
	e.came = true
}

func (m *model) poll(events []*happened) {
	for _, e := range events {
		m.transmitter.Queue(m.t, e.set)
		e.came = true
	}
	m.step(m.t)
}

func (m *model) check(rt *rapid.T) {
	for _, l := range m.logins {
		for _, token := range l.tokens {
			if live := m.live(m.t, token); live == m.revoked(l) {
				rt.Fatalf("the login of %s in %s at %s: live %v, model says revoked %v", l.user, l.session, l.at, live, m.revoked(l))
			}
		}
	}
	if m.t.Failed() {
		rt.FailNow()
	}
}
