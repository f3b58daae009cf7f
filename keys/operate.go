package keys

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/jose"
)

// The reasons for which an operator's wish is refused. Compare with errors.Is; the text says what to do.
var (
	// ErrUnknown: no such key is published.
	ErrUnknown = errors.New("keys: no such key")
	// ErrOnly: no other key of its algorithm can sign.
	ErrOnly = errors.New("keys: it is the only key that can sign")
	// ErrWaiting: a successor waits already.
	ErrWaiting = errors.New("keys: a successor waits already")
	// ErrUnwanted: the key cannot be used here.
	ErrUnwanted = errors.New("keys: not a key for this server")
)

// planner is Plan with an operator's wish in front.
type planner func(now time.Time, records []Record, p Policy) ([]Record, error)

// planned is Plan without a wish.
func planned(now time.Time, records []Record, p Policy) ([]Record, error) {
	return Plan(now, records, p), nil
}

// planRotation is Plan with the next rotation of every algorithm brought forward. While a successor waits already, there is
// nothing to do.
func planRotation(now time.Time, records []Record, p Policy) ([]Record, error) {
	records = Plan(now, records, p)
	out := slices.Clone(records)
	for _, alg := range p.algorithms() {
		line, _ := ofAlgorithm(records, alg)
		if n := len(line) - 1; line[n].KID != "" && !line[n].Activate.After(now) {
			out = append(out, Record{Algorithm: alg, Published: now, Activate: now.Add(p.PublishAhead)})
		}
	}
	return settled(now, out, p), nil
}

// planRetirement takes one key out of use. One that waits will not sign; it stays published for as long as a replica that has not
// heard may sign with it all the same. One that signs hands over to the successor that waits, as soon as that was published for long
// enough. One that signs no more is on its way already.
func planRetirement(kid string) planner {
	return func(now time.Time, records []Record, p Policy) ([]Record, error) {
		out := sorted(records)
		i := slices.IndexFunc(out, func(r Record) bool { return r.KID == kid })
		if i < 0 {
			return nil, fmt.Errorf("%w: %q; `obo keys list` shows which there are", ErrUnknown, kid)
		}
		if out[i].withdrawn() {
			return Plan(now, records, p), nil
		}
		line, _ := ofAlgorithm(records, out[i].Algorithm)
		at := slices.IndexFunc(line, func(r Record) bool { return r.KID == kid })
		active := signing(now, line, out[i].Algorithm, p)
		switch {
		case at < active:
		case at > active && active >= 0 && out[i].Activate.After(now.Add(Skew)): // no replica's clock lets it sign yet
			out[i].Deactivate = out[i].Activate
			out[i].Remove = now.Add(p.PublishAhead + p.MaxTokenLife + Skew)
			before := slices.IndexFunc(out, func(r Record) bool { return r.KID == line[at-1].KID })
			out[before].open()
		case at+1 < len(line):
			next := slices.IndexFunc(out, func(r Record) bool { return r.KID == line[at+1].KID })
			soonest := later(now, out[next].Published.Add(p.PublishAhead))
			if soonest.Before(out[next].Activate) {
				out[next].Activate = soonest
			}
		default:
			return nil, fmt.Errorf("%w with %s: `obo keys rotate` publishes a successor; retire this one then", ErrOnly, out[i].Algorithm)
		}
		return Plan(now, settled(now, out, p), p), nil
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// planImport lets a key of the operator's succeed the newest of its algorithm.
func planImport(kid string, alg jose.Algorithm) planner {
	return func(now time.Time, records []Record, p Policy) ([]Record, error) {
		if !slices.Contains(p.algorithms(), alg) {
			return nil, fmt.Errorf("%w: nothing is signed with %s here; name it in signing.algorithms", ErrUnwanted, alg)
		}
		records = Plan(now, records, p)
		if slices.ContainsFunc(records, func(r Record) bool { return r.KID == kid }) {
			return records, nil // by a call whose answer was lost
		}
		line, _ := ofAlgorithm(records, alg)
		if line[len(line)-1].KID == "" || line[len(line)-1].Activate.After(now) {
			return nil, fmt.Errorf("%w: retire it first, or wait until it signs", ErrWaiting)
		}
		out := append(slices.Clone(records), Record{KID: kid, Algorithm: alg, Published: now, Activate: now.Add(p.PublishAhead)})
		return settled(now, out, p), nil
	}
}

// settled is settle for each line.
func settled(now time.Time, records []Record, p Policy) []Record {
	var out []Record
	for _, alg := range every(records, p) {
		line, withdrawn := ofAlgorithm(records, alg)
		out = append(append(out, settle(now, line, p)...), settle(now, withdrawn, p)...)
	}
	return sorted(out)
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
	State  State
	Source string // where the private key is: "store", or the name of a Source and what the key is called there
}

// describe gives each of the records its state.
func describe(now time.Time, records []Record, p Policy) []Info {
	out := make([]Info, len(records))
	fallback := signing(now, records, "", p)
	for i, r := range records {
		state, active := StatePublished, signing(now, records, r.Algorithm, p)
		switch {
		case i == active || i == fallback:
			state = StateActive
		case !r.Remove.IsZero() && !r.Remove.After(now):
			state = StateRetired
		case i < active || r.ended(now) || r.withdrawn():
			state = StateRetiring
		}
		out[i] = Info{Record: r, State: state}
	}
	return out
}
