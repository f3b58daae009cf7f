package keys

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Policy is how keys live. At every instant every unexpired token verifies against the published set (MD6), as long as the
// policy tells the truth about verifiers and tokens.
type Policy struct {
	// Algorithm of new keys. When it changes, a successor is published at once.
	Algorithm jose.Algorithm
	// PublishAhead is how long a key is published before it signs: at least the time for which verifiers keep the set.
	PublishAhead time.Duration
	// ActiveFor is how long a key signs; at least twice PublishAhead.
	ActiveFor time.Duration
	// MaxTokenLife is the longest life of a token. Sign refuses a longer one. Before it is lowered, let the tokens of the
	// longer life die.
	MaxTokenLife time.Duration
}

// Skew is what clocks may differ by, and what verifiers may add to an expiry: a key stays published that much longer than its
// last token lives.
const Skew = 2 * time.Minute

func (p Policy) check() error {
	switch {
	case p.Algorithm == "":
		return errors.New("keys: no algorithm")
	case p.PublishAhead <= 0:
		return errors.New("keys: PublishAhead must be positive: verifiers keep the set for a while")
	case p.ActiveFor < 2*p.PublishAhead:
		return fmt.Errorf("keys: ActiveFor %s is less than twice PublishAhead %s", p.ActiveFor, p.PublishAhead)
	case p.MaxTokenLife <= 0:
		return errors.New("keys: MaxTokenLife must be positive")
	}
	return nil
}

// Record is a key's life: all that Plan looks at.
type Record struct {
	KID        string // empty for a key that is yet to be made
	Algorithm  jose.Algorithm
	Published  time.Time
	Activate   time.Time
	Deactivate time.Time // when its successor signs; zero while there is none
	Remove     time.Time // when its last token is dead; zero while there is no successor
}

// Plan says which keys there should be now: the given ones without those that are no longer needed, and perhaps a new one,
// without KID, which the caller makes. It is pure, and planning again changes nothing.
//
// The very first key signs at once, because no verifier has kept a set without it.
func Plan(now time.Time, records []Record, p Policy) []Record {
	out := sorted(records)
	if len(out) == 0 {
		return []Record{{Algorithm: p.Algorithm, Published: now, Activate: now}}
	}
	newest := out[len(out)-1]
	due := newest.Activate.Add(p.ActiveFor - p.PublishAhead)
	if newest.Algorithm != p.Algorithm && !newest.Activate.After(now) {
		due = now
	}
	if !now.Before(due) {
		out = append(out, succeed(now, newest, p))
	}
	return settle(now, out, p)
}

// planRotation is Plan with the next rotation brought forward. While a successor waits already, there is nothing to do.
func planRotation(now time.Time, records []Record, p Policy) []Record {
	out := sorted(records)
	if len(out) == 0 || out[len(out)-1].Activate.After(now) {
		return Plan(now, records, p)
	}
	p.ActiveFor = p.PublishAhead // so that it is due now, and signs as soon as it was published for long enough
	out = append(out, succeed(now, out[len(out)-1], p))
	return settle(now, out, p)
}

func succeed(now time.Time, newest Record, p Policy) Record {
	activate := now.Add(p.PublishAhead)
	if planned := newest.Activate.Add(p.ActiveFor); newest.Algorithm == p.Algorithm && planned.After(activate) {
		activate = planned
	}
	return Record{Algorithm: p.Algorithm, Published: now, Activate: activate}
}

// settle gives every key that has a successor its end, and drops the keys whose end has come. An end may move away, when the
// life of tokens was raised, and never nearer.
func settle(now time.Time, records []Record, p Policy) []Record {
	out := records[:0:0]
	for i, r := range records {
		if i+1 < len(records) {
			r.Deactivate = records[i+1].Activate
			if end := r.Deactivate.Add(p.MaxTokenLife + Skew); end.After(r.Remove) {
				r.Remove = end
			}
			if !r.Remove.After(now) {
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// signing is the index of the key that signs: the newest whose time has come. A clock that was set back before all of them
// gets the oldest, which verifiers know best.
func signing(now time.Time, records []Record) int {
	at := 0
	for i, r := range records {
		if !r.Activate.After(now) {
			at = i
		}
	}
	return at
}

// sorted is a copy in the order in which keys sign. Every replica must find the same order.
func sorted(records []Record) []Record {
	return slices.SortedFunc(slices.Values(records), func(a, b Record) int {
		return cmp.Or(a.Activate.Compare(b.Activate), a.Published.Compare(b.Published), cmp.Compare(a.KID, b.KID))
	})
}

// State is where a key is in its life.
type State string

// The states, in order.
const (
	StatePublished State = "published" // in the set, does not sign yet
	StateActive    State = "active"    // signs
	StateRetiring  State = "retiring"  // signs no more; tokens of it live
	StateRetired   State = "retired"   // no token of it lives; about to leave the set
)

// Info tells an operator about one key.
type Info struct {
	Record
	State State
}

// describe gives each of the records its state.
func describe(now time.Time, records []Record) []Info {
	out := make([]Info, len(records))
	active := signing(now, records)
	for i, r := range records {
		state := StatePublished
		switch {
		case i == active:
			state = StateActive
		case !r.Remove.IsZero() && !r.Remove.After(now):
			state = StateRetired
		case i < active:
			state = StateRetiring
		}
		out[i] = Info{Record: r, State: state}
	}
	return out
}
