package signals

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// The bounds of polling (RFC 8936; SS4b).
const (
	MaxEvents = 64      // SETs that are asked for, and taken, at once
	MaxReply  = 2 << 20 // bytes of a reply: as many of the largest SETs, and room to spare

	pace      = 5 * time.Second  // between polls that bring nothing new, unless the transmitter lets us wait for longer
	firstWait = time.Second      // after a failure
	lastWait  = 5 * time.Minute  // after many
	maxWait   = 10 * time.Minute // that a transmitter may ask for
)

// Polled is where a stream that is polled stands: what the next request says of the SETs that came before it. A SET that was
// neither taken nor refused is not spoken of, so that its transmitter delivers it again. The zero value is a stream before its
// first poll. It never changes.
type Polled struct {
	taken    []string           // jti
	refused  map[string]Refusal // by jti
	failures int
}

// Request is the body of the next request (RFC 8936 §2.2): the answers to the SETs before, and a wish for more, for which the
// transmitter may let us wait.
func (p Polled) Request() ([]byte, error) {
	refused := map[string]refusalJSON{}
	for id, r := range p.refused {
		refused[id] = refusalJSON(r)
	}
	return jose.Encode(struct {
		MaxEvents         int                    `json:"maxEvents"`
		ReturnImmediately bool                   `json:"returnImmediately"`
		Ack               []string               `json:"ack,omitempty"`
		Errs              map[string]refusalJSON `json:"setErrs,omitempty"`
	}{MaxEvents, false, p.taken, refused})
}

type refusalJSON struct {
	Code        Code   `json:"err"`
	Description string `json:"description"`
}

// Delivered is a SET as a reply has it.
type Delivered struct {
	ID    string // by which it is answered
	Token string
}

// Check refuses a SET that stands under another jti than its own: an answer to the one would be taken for the other's.
func (d Delivered) Check() error {
	m, err := jose.Parse(d.Token)
	if err != nil {
		return nil //nolint:nilerr // whoever takes it says what is wrong
	}
	if e, err := Parse(m.UnverifiedPayload()); err == nil && e.ID != d.ID {
		return malformed("its jti is not the one that it was delivered under")
	}
	return nil
}

// Reply is what a transmitter answers (RFC 8936 §2.3).
type Reply struct {
	Sets []Delivered // at most MaxEvents, by ID
	More bool        // SETs are waiting
}

// ParseReply reads a reply. What it says of each SET is judged when that is taken.
func ParseReply(body []byte) (Reply, error) {
	var r struct {
		Sets map[string]string `json:"sets"`
		More bool              `json:"moreAvailable"`
	}
	if len(body) > MaxReply {
		return Reply{}, fmt.Errorf("signals: the reply is longer than %d bytes", MaxReply)
	}
	if err := jose.DecodeClaims(body, &r); err != nil {
		return Reply{}, fmt.Errorf("signals: the reply is malformed: %w", err)
	}
	if r.Sets == nil {
		return Reply{}, errors.New("signals: the reply has no sets")
	}
	ids := slices.Sorted(maps.Keys(r.Sets))
	out := Reply{More: r.More || len(ids) > MaxEvents}
	for _, id := range ids[:min(len(ids), MaxEvents)] { // the rest comes again
		out.Sets = append(out.Sets, Delivered{ID: id, Token: r.Sets[id]})
	}
	return out, nil
}

// Answer says what came of a SET: nil when its effect is durable, a *Refusal, or an error because of which it is to come again.
type Answer struct {
	ID  string
	Err error
}

// Answered is the stream after a reply whose SETs came to that, and how long to wait before the next poll. took is how long the
// transmitter held the request.
func (p Polled) Answered(answers []Answer, took time.Duration) (next Polled, wait time.Duration) {
	next.refused = map[string]Refusal{}
	missing, fresh := false, false
	for _, a := range answers {
		refusal, refused := errors.AsType[*Refusal](a.Err)
		switch {
		case a.Err == nil:
			next.taken = append(next.taken, a.ID)
		case refused:
			next.refused[a.ID] = *refusal
		default:
			missing = true
			continue
		}
		fresh = fresh || !p.spokeOf(a.ID)
	}
	switch {
	case missing: // something here is away, and would still be
		next.failures = p.failures + 1
		return next, backoff(next.failures)
	case fresh:
		return next, 0
	}
	return next, max(pace-took, 0) // nothing, or again what was answered just now: no reason to hurry
}

func (p Polled) spokeOf(id string) bool {
	_, refused := p.refused[id]
	return refused || slices.Contains(p.taken, id)
}

// Failed is the stream after a poll without a reply, and how long to wait. What was to be said is said again. after is what the
// transmitter asked for, if it did.
func (p Polled) Failed(after time.Duration) (next Polled, wait time.Duration) {
	next = p
	next.failures++
	return next, max(backoff(next.failures), min(after, maxWait))
}

// Failing reports whether the last poll failed, or what it brought could not be taken.
func (p Polled) Failing() bool { return p.failures > 0 }

func backoff(failures int) time.Duration {
	return min(firstWait<<min(failures-1, 16), lastWait)
}

// CredentialBinding is the associated data of the sealed credential of a polled stream: it opens for this stream of this org and
// for this endpoint alone. Names have no bar in them.
func CredentialBinding(org delegation.OrgID, stream, endpoint string) []byte {
	return []byte("signal credential|" + string(org) + "|" + stream + "|" + endpoint)
}
