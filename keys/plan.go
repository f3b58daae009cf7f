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
	// Algorithm of tokens for which nobody chose one. When it changes, a key of the new one is published at once, and the old
	// one signs until that does.
	Algorithm jose.Algorithm
	// Algorithms are further ones that may be chosen. There is one key for each algorithm (JW2).
	Algorithms []jose.Algorithm
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
	case p.Algorithm == "" || slices.Contains(p.Algorithms, ""):
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

// algorithms are those that have a key, each once.
func (p Policy) algorithms() []jose.Algorithm {
	out := append([]jose.Algorithm{p.Algorithm}, p.Algorithms...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Record is a key's life: all that Plan looks at.
type Record struct {
	KID        string // empty for a key that is yet to be made
	Algorithm  jose.Algorithm
	Published  time.Time
	Activate   time.Time
	Deactivate time.Time // when it signs no more; zero while it has no successor
	Remove     time.Time // when its last token is dead; zero while it has no successor
	Burnt      bool      // in wrong hands: Plan drops it, whatever its times
}

// Plan says which keys there should be now: the given ones without those that are no longer needed, and perhaps new ones,
// without KID, which the caller makes. It is pure, and planning again changes nothing. The keys of each algorithm succeed each
// other.
//
// The very first keys sign at once, because no verifier has kept a set without them. So does the successor of a burnt key:
// whoever does not know it yet asks for it.
func Plan(now time.Time, records []Record, p Policy) []Record {
	var out []Record
	for _, alg := range every(records, p) {
		line, withdrawn := ofAlgorithm(records, alg)
		out = append(out, settle(now, withdrawn, p)...)
		sound := slices.DeleteFunc(slices.Clone(line), func(r Record) bool { return r.Burnt })
		if !slices.Contains(p.algorithms(), alg) {
			out = append(out, settle(now, leave(now, sound, p), p)...)
			continue
		}
		switch burnt := len(sound) < len(line); {
		case burnt:
			sound = mend(now, sound, alg)
		case len(sound) == 0:
			sound = []Record{first(now, alg, len(records) == 0, p)}
		default:
			sound = carryOn(now, sound, p)
		}
		out = append(out, settle(now, sound, p)...)
	}
	return sorted(out)
}

// every lists the algorithms that have keys or should have one.
func every(records []Record, p Policy) []jose.Algorithm {
	out := p.algorithms()
	for _, r := range records {
		out = append(out, r.Algorithm)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ofAlgorithm is the line of keys of one algorithm, in signing order, and beside it those that were withdrawn.
func ofAlgorithm(records []Record, alg jose.Algorithm) (line, withdrawn []Record) {
	for _, r := range sorted(records) {
		switch {
		case r.Algorithm != alg:
		case !r.withdrawn():
			line = append(line, r)
		case !r.Burnt:
			withdrawn = append(withdrawn, r)
		}
	}
	return line, withdrawn
}

// first is the first key of an algorithm.
func first(now time.Time, alg jose.Algorithm, ever bool, p Policy) Record {
	r := Record{Algorithm: alg, Published: now, Activate: now}
	if !ever {
		r.Activate = now.Add(p.PublishAhead)
	}
	return r
}

// mend lets a line go on that lost a burnt key. A key that was to sign later signs now; else, unless one signs that was not
// burnt, a new one does. One that signs no more is not called back: it left for a reason.
func mend(now time.Time, line []Record, alg jose.Algorithm) []Record {
	if n := len(line) - 1; n >= 0 && !line[n].ended(now) {
		line[n].open()
		if i := slices.IndexFunc(line, func(r Record) bool { return !r.ended(now) }); line[i].Activate.After(now) {
			line[i].Activate = now
		}
		return line
	}
	return append(line, Record{Algorithm: alg, Published: now, Activate: now})
}

// carryOn keeps the newest key of a line, and publishes a successor when one is due. A replica whose configuration wants the line no
// longer ends it, and one that wants it calls it back: not at once, or the two would keep each other busy.
func carryOn(now time.Time, line []Record, p Policy) []Record {
	newest := &line[len(line)-1]
	if newest.ended(now.Add(p.PublishAhead / 2)) {
		newest.open()
	}
	if now.Before(newest.Activate.Add(p.ActiveFor - p.PublishAhead)) {
		return line
	}
	return append(line, succeed(now, *newest, p))
}

// leave ends a line whose algorithm is no longer wanted, when every replica has heard of it.
func leave(now time.Time, line []Record, p Policy) []Record {
	if n := len(line) - 1; n >= 0 && line[n].Deactivate.IsZero() {
		line[n].Deactivate = now.Add(p.PublishAhead)
		line[n].Remove = line[n].Deactivate.Add(p.MaxTokenLife + Skew)
	}
	return line
}

// withdrawn reports whether the key is never to sign: it stays published only for a replica that has not heard.
func (r *Record) withdrawn() bool { return !r.Deactivate.IsZero() && !r.Deactivate.After(r.Activate) }

func (r *Record) open() { r.Deactivate, r.Remove = time.Time{}, time.Time{} }

func (r *Record) ended(now time.Time) bool { return !r.Deactivate.IsZero() && !r.Deactivate.After(now) }

func succeed(now time.Time, newest Record, p Policy) Record {
	activate := now.Add(p.PublishAhead)
	if planned := newest.Activate.Add(p.ActiveFor); planned.After(activate) {
		activate = planned
	}
	return Record{Algorithm: newest.Algorithm, Published: now, Activate: activate}
}

// settle gives every key of a line that has a successor its end, and drops the keys whose end has come. An end may move away,
// when the life of tokens was raised, and never nearer.
func settle(now time.Time, line []Record, p Policy) []Record {
	out := line[:0:0]
	for i, r := range line {
		if i+1 < len(line) && !r.withdrawn() {
			if next := line[i+1].Activate; !r.ended(now) || next.Before(r.Deactivate) {
				r.Deactivate = next
			}
			if end := r.Deactivate.Add(p.MaxTokenLife + Skew); end.After(r.Remove) {
				r.Remove = end
			}
		}
		if !r.Remove.IsZero() && !r.Remove.After(now) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// signing is the index of the key that signs with an algorithm, the policy's when none is chosen: the newest whose time has
// come. A clock that is behind takes a key that was made to sign at once, or the successor of one that signs no more. It answers -1
// when no key may.
func signing(now time.Time, records []Record, chosen jose.Algorithm, p Policy) int {
	at, early := -1, -1
	want := cmp.Or(chosen, p.Algorithm)
	for i, r := range records {
		switch {
		case r.Algorithm != want || r.withdrawn():
		case !r.Activate.After(now):
			at, early = i, -1
		case early < 0 && (r.Activate.Equal(r.Published) || at >= 0 && records[at].ended(now)):
			early = i
		}
	}
	switch {
	case early >= 0:
		return early
	case at >= 0 && !records[at].ended(now): // else another replica is about to remove it
		return at
	case chosen != "":
		return -1
	}
	return standIn(now, records, p)
}

// standIn signs for who chose no algorithm while the policy's own has no key yet: a key of the one before. A clock that was set
// back before all keys gets the oldest, which verifiers know best. By a clock that is not, a key whose time has not come signs for
// nobody: verifiers may not know it yet.
func standIn(now time.Time, records []Record, p Policy) int {
	best, rank := -1, -1
	behind := !slices.ContainsFunc(records, func(r Record) bool { return !r.Activate.After(now) })
	for i, r := range records {
		mine := 1
		switch {
		case r.withdrawn() || r.ended(now):
			continue
		case r.Activate.After(now):
			if best < 0 && behind {
				best = i
			}
			continue
		case !slices.Contains(p.algorithms(), r.Algorithm):
			mine = 2
		case r.Algorithm == jose.RS256: // some orgs are held to others (FA6)
			mine = 0
		}
		if mine >= rank {
			best, rank = i, mine
		}
	}
	return best
}

// sorted is a copy in the order in which keys sign. Every replica must find the same order.
func sorted(records []Record) []Record {
	return slices.SortedFunc(slices.Values(records), func(a, b Record) int {
		return cmp.Or(a.Activate.Compare(b.Activate), a.Published.Compare(b.Published), cmp.Compare(a.Algorithm, b.Algorithm),
			cmp.Compare(a.KID, b.KID))
	})
}
