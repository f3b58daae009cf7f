package keys

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/jose"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testPolicy() Policy {
	return Policy{Algorithm: jose.ES256, PublishAhead: time.Hour, ActiveFor: 30 * 24 * time.Hour, MaxTokenLife: 15 * time.Minute}
}

// name gives ids to the keys that a plan asks for, as the ring does.
func name(records []Record, next *int) []Record {
	for i := range records {
		if records[i].KID == "" {
			*next++
			records[i].KID = fmt.Sprintf("k%d", *next)
		}
	}
	return records
}

func TestPlanLife(t *testing.T) {
	t.Parallel()
	p, n := testPolicy(), 0
	first := name(Plan(epoch, nil, p), &n)
	if len(first) != 1 || !first[0].Activate.Equal(epoch) {
		t.Fatalf("the first key does not sign at once: %+v", first)
	}
	end := epoch.Add(p.ActiveFor)
	second := Record{KID: "k2", Algorithm: p.Algorithm, Published: end.Add(-p.PublishAhead), Activate: end}
	leaving := first[0]
	leaving.Deactivate, leaving.Remove = end, end.Add(p.MaxTokenLife+Skew)
	for _, step := range []struct {
		name string
		at   time.Time
		want []Record
	}{
		{"nothing is due", end.Add(-p.PublishAhead - 1), first},
		{"a successor is published ahead", end.Add(-p.PublishAhead), []Record{leaving, second}},
		{"the successor signs", end, []Record{leaving, second}},
		{"tokens of the old key live", leaving.Remove.Add(-1), []Record{leaving, second}},
		{"the last token is dead", leaving.Remove, []Record{second}},
	} {
		first = name(Plan(step.at, first, p), &n)
		if !slices.EqualFunc(first, step.want, sameRecord) {
			t.Fatalf("%s: %+v, want %+v", step.name, first, step.want)
		}
	}
}

func TestPlanAfterALongSleep(t *testing.T) {
	t.Parallel()
	p, n := testPolicy(), 0
	keys := name(Plan(epoch, nil, p), &n)
	late := epoch.Add(365 * 24 * time.Hour)
	keys = name(Plan(late, keys, p), &n)
	if got := keys[signing(late, keys, "", p)].KID; got != "k1" || len(keys) != 2 {
		t.Fatalf("%s signs of %d keys; the successor was not published for long enough", got, len(keys))
	}
	if at := late.Add(p.PublishAhead); keys[signing(at, keys, "", p)].KID != "k2" {
		t.Fatal("the successor does not sign when it was published for long enough")
	}
}

func TestPlanFollowsTheAlgorithm(t *testing.T) {
	t.Parallel()
	p, n := testPolicy(), 0
	keys := name(Plan(epoch, nil, p), &n)
	p.Algorithm = jose.EdDSA
	now := epoch.Add(time.Hour)
	keys = name(Plan(now, keys, p), &n)
	if len(keys) != 2 || keys[1].Algorithm != jose.EdDSA || !keys[1].Activate.Equal(now.Add(p.PublishAhead)) {
		t.Fatalf("%+v", keys)
	}
	if again := Plan(now.Add(time.Minute), keys, p); len(again) != 2 {
		t.Fatalf("asked twice: %+v", again)
	}
}

func rotated(now time.Time, records []Record, p Policy) []Record {
	out, _ := planRotation(now, records, p) // it refuses nothing
	return out
}

func TestRotationIsBroughtForward(t *testing.T) {
	t.Parallel()
	p, n := testPolicy(), 0
	keys := name(Plan(epoch, nil, p), &n)
	now := epoch.Add(time.Minute)
	keys = name(rotated(now, keys, p), &n)
	if len(keys) != 2 || !keys[1].Activate.Equal(now.Add(p.PublishAhead)) || !keys[0].Deactivate.Equal(keys[1].Activate) {
		t.Fatalf("%+v", keys)
	}
	if again := rotated(now.Add(time.Minute), keys, p); !slices.EqualFunc(again, keys, sameRecord) {
		t.Fatalf("a second call while the successor waits: %+v", again)
	}
}

// A clock that jumps anywhere leaves a key to sign with, and does not heap up keys.
func TestPlanUnderAnyClock(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, n := testPolicy(), 0
		var keys []Record
		for range 50 {
			now := epoch.Add(time.Duration(rapid.Int64Range(-int64(1000*24*time.Hour), int64(1000*24*time.Hour)).Draw(t, "at")))
			before := len(keys)
			keys = name(Plan(now, keys, p), &n)
			if len(keys) == 0 || len(keys) > before+1 {
				t.Fatalf("%d keys, then %d", before, len(keys))
			}
			if again := Plan(now, keys, p); !slices.EqualFunc(again, keys, sameRecord) {
				t.Fatalf("planning again changes %+v to %+v", keys, again)
			}
			if states := describe(now, keys, p); !slices.ContainsFunc(states, func(i Info) bool { return i.State == StateActive }) {
				t.Fatalf("no key signs: %+v", states)
			}
		}
	})
}

// model is months in the life of several replicas with clocks of their own, over one store.
type model struct {
	policy     Policy
	now        time.Time // true time
	stored     []Record
	generation int
	made       int
	replicas   []*replica
	tokens     []token
	burnt      map[string]bool
	hurried    map[string]bool // those that a burnt key made sign early
}

type replica struct {
	offset time.Duration // how wrong its clock is
	read   time.Time     // by its own clock
	keys   []Record
}

type token struct {
	kid     string
	expires time.Time
}

const modelSkew = Skew / 4 // two clocks differ by up to twice this; the other half of Skew is the verifier's leeway

// reload is what Ring.advance does with an operator's wish; between its reading and its writing the others get a turn.
func (m *model) reload(r *replica, wish planner, between func()) {
	for {
		now, generation := m.now.Add(r.offset), m.generation
		for i := range m.stored {
			m.stored[i].Burnt = m.burnt[m.stored[i].KID]
		}
		next, err := wish(now, m.stored, m.policy)
		if err != nil {
			return // refused; nothing is changed
		}
		between()
		between = func() {}
		if !slices.EqualFunc(next, sorted(m.stored), sameRecord) {
			if m.generation != generation {
				continue // lost the race
			}
			m.stored = name(next, &m.made)
			m.generation++
		}
		r.read, r.keys = now, slices.Clone(m.stored)
		return
	}
}

// TestMonths: at every instant every unexpired token verifies with the published set, and no key signs before it was published
// for PublishAhead (MD6).
func TestMonths(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.SampledFrom([]time.Duration{time.Hour / 6, time.Hour, 12 * time.Hour, 24 * time.Hour})
		p := Policy{Algorithm: jose.ES256, Algorithms: rapid.SampledFrom([][]jose.Algorithm{nil, {jose.ES256}, {jose.PS256, jose.EdDSA}}).
			Draw(t, "further"), PublishAhead: hours.Draw(t, "ahead"), MaxTokenLife: rapid.SampledFrom(
			[]time.Duration{time.Minute, 15 * time.Minute, time.Hour}).Draw(t, "life")}
		p.ActiveFor = p.PublishAhead * time.Duration(rapid.IntRange(2, 60).Draw(t, "active"))
		m := &model{policy: p, now: epoch, burnt: map[string]bool{}, hurried: map[string]bool{}}
		for range rapid.IntRange(1, 3).Draw(t, "replicas") {
			m.replicas = append(m.replicas, &replica{})
		}
		steps := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, p.MaxTokenLife, p.PublishAhead / 10, p.PublishAhead / 10,
			p.PublishAhead / 2, p.PublishAhead, p.ActiveFor / 3, p.ActiveFor, 40 * 24 * time.Hour})
		for m.now.Before(epoch.Add(180*24*time.Hour)) && m.made < 40 {
			m.now = m.now.Add(steps.Draw(t, "step"))
			for _, r := range m.replicas {
				r.offset = time.Duration(rapid.Int64Range(-int64(modelSkew), int64(modelSkew)).Draw(t, "clock")) // it jumps
				if rapid.IntRange(0, 3).Draw(t, "reload") > 0 {
					other := m.replicas[rapid.IntRange(0, len(m.replicas)-1).Draw(t, "other")]
					m.reload(r, m.wish(t), func() {
						if rapid.Bool().Draw(t, "race") && other != r {
							m.reload(other, planned, func() {})
						}
					})
				}
				m.sign(t, r)
			}
			m.verify(t)
		}
	})
}

// wish is what an operator may want at any time: mostly nothing.
func (m *model) wish(t *rapid.T) planner {
	kid := "none"
	if len(m.stored) > 0 {
		kid = m.stored[rapid.IntRange(0, len(m.stored)-1).Draw(t, "key")].KID
	}
	switch rapid.IntRange(0, 24).Draw(t, "wish") {
	case 0:
		return planRotation
	case 1, 2:
		return planRetirement(kid)
	case 3:
		return planImport("imported-"+kid, m.policy.algorithms()[0])
	case 4:
		m.burnt[kid] = true
		for _, k := range m.stored {
			m.hurried[k.KID] = true
		}
		m.tokens = slices.DeleteFunc(m.tokens, func(k token) bool { return k.kid == kid })
	case 5: // the configuration changes, on all replicas at once
		m.policy.Algorithms = rapid.SampledFrom([][]jose.Algorithm{nil, {jose.PS256}, {jose.PS256, jose.EdDSA}}).Draw(t, "algorithms")
		m.policy.Algorithm = rapid.SampledFrom([]jose.Algorithm{jose.ES256, jose.PS256}).Draw(t, "algorithm")
	}
	return planned
}

// sign is what Ring.Sign does.
func (m *model) sign(t *rapid.T, r *replica) {
	now := m.now.Add(r.offset)
	if len(r.keys) == 0 || now.Sub(r.read) > m.policy.PublishAhead {
		return // stale: it refuses
	}
	chosen := rapid.SampledFrom([]jose.Algorithm{"", "", m.policy.Algorithm, jose.PS256}).Draw(t, "chosen")
	i := signing(now, r.keys, chosen, m.policy)
	if i < 0 {
		return
	}
	key := r.keys[i]
	if m.burnt[key.KID] {
		return // it has heard, and refuses
	}
	if chosen != "" && key.Algorithm != chosen {
		t.Fatalf("%s was chosen, and %s signs", chosen, key.Algorithm)
	}
	if !key.Activate.Equal(key.Published) && !m.hurried[key.KID] && m.now.Sub(key.Published) < m.policy.PublishAhead-2*modelSkew {
		t.Fatalf("%s signs %s after it was published", key.KID, m.now.Sub(key.Published))
	}
	m.tokens = append(m.tokens, token{key.KID, now.Add(m.policy.MaxTokenLife)})
}

func (m *model) verify(t *rapid.T) {
	m.tokens = slices.DeleteFunc(m.tokens, func(k token) bool { return !k.expires.Add(modelSkew).After(m.now) })
	for _, k := range m.tokens {
		has := func(r Record) bool { return r.KID == k.kid }
		if !slices.ContainsFunc(m.stored, has) {
			t.Fatalf("at %s a token of %s that lives until %s has no key in %+v", m.now, k.kid, k.expires, m.stored)
		}
	}
	if len(m.stored) > 3*(4+len(m.burnt))+3*int((m.policy.MaxTokenLife+Skew)/m.policy.PublishAhead) {
		t.Fatalf("keys heap up: %+v", m.stored)
	}
}

// TestLines: JW2. Each algorithm has a line of its own: all sign at once on the first day, a later one waits, one that is wanted no
// longer ends when every replica has heard of it, and is called back while its keys are there.
func TestLines(t *testing.T) {
	t.Parallel()
	p, n := testPolicy(), 0
	p.Algorithms = []jose.Algorithm{jose.PS256}
	keys := name(Plan(epoch, nil, p), &n)
	algorithm := func(now time.Time, chosen jose.Algorithm) jose.Algorithm {
		if i := signing(now, keys, chosen, p); i >= 0 {
			return keys[i].Algorithm
		}
		return "none"
	}
	expect := func(now time.Time, want map[jose.Algorithm]jose.Algorithm) {
		t.Helper()
		for chosen, want := range want {
			if got := algorithm(now, chosen); got != want {
				t.Errorf("at %s %q is signed with %s, want %s", now, chosen, got, want)
			}
		}
	}
	expect(epoch, map[jose.Algorithm]jose.Algorithm{"": jose.ES256, jose.ES256: jose.ES256, jose.PS256: jose.PS256, jose.EdDSA: "none"})
	expect(epoch.Add(-time.Second), map[jose.Algorithm]jose.Algorithm{"": jose.ES256, jose.PS256: jose.PS256}) // a clock that is behind

	p.Algorithm, p.Algorithms = jose.EdDSA, []jose.Algorithm{jose.PS256}
	now := epoch.Add(time.Hour)
	keys = name(Plan(now, keys, p), &n)
	expect(now, map[jose.Algorithm]jose.Algorithm{"": jose.ES256, jose.ES256: jose.ES256, jose.PS256: jose.PS256, jose.EdDSA: "none"})
	now = now.Add(p.PublishAhead)
	expect(now, map[jose.Algorithm]jose.Algorithm{"": jose.EdDSA, jose.ES256: "none", jose.PS256: jose.PS256, jose.EdDSA: jose.EdDSA})
	now = now.Add(p.MaxTokenLife + Skew)
	if keys = Plan(now, keys, p); len(keys) != 2 {
		t.Errorf("the line that nobody wants is still there: %+v", keys)
	}
	p.Algorithms = nil
	keys = Plan(now, keys, p)
	p.Algorithms = []jose.Algorithm{jose.PS256}
	now = now.Add(p.PublishAhead / 2)
	keys = Plan(now, keys, p)
	now = now.Add(p.PublishAhead)
	expect(now, map[jose.Algorithm]jose.Algorithm{jose.PS256: jose.PS256})
}

// TestBurntKeys: a burnt key leaves at once, and its line goes on at once: with the key that waits, or with a new one.
func TestBurntKeys(t *testing.T) {
	t.Parallel()
	p, n := testPolicy(), 0
	now := epoch.Add(time.Minute)
	burn := func(keys []Record, kid string) []Record {
		t.Helper()
		for i := range keys {
			keys[i].Burnt = keys[i].KID == kid
		}
		out := name(Plan(now, keys, p), &n)
		if slices.ContainsFunc(out, func(r Record) bool { return r.KID == kid }) || out[signing(now, out, "", p)].Activate.After(now) {
			t.Errorf("%s was burnt: %+v", kid, out)
		}
		return out
	}
	alone := name(Plan(epoch, nil, p), &n)
	if keys := burn(alone, "k1"); len(keys) != 1 || keys[0].KID != "k2" {
		t.Errorf("%+v", keys)
	}
	n = 1
	both := name(rotated(now, name(Plan(epoch, nil, p), new(int)), p), &n)
	if keys := burn(slices.Clone(both), "k1"); len(keys) != 1 || keys[0].KID != "k2" {
		t.Errorf("the one that waited: %+v", keys)
	}
	if keys := burn(slices.Clone(both), "k2"); len(keys) != 1 || keys[0].KID != "k1" || !keys[0].Deactivate.IsZero() {
		t.Errorf("the one that signs: %+v", keys)
	}
	now = now.Add(p.PublishAhead)
	keys := burn(slices.Clone(both), "k2")
	if len(keys) != 2 || keys[0].KID != "k1" || keys[signing(now, keys, "", p)].KID == "k1" {
		t.Errorf("one that had left was called back: %+v", keys)
	}
}

// TestStandIn: a key whose time has not come signs only by a clock that is behind all keys: by any other, nobody may have it yet.
func TestStandIn(t *testing.T) {
	t.Parallel()
	p := Policy{Algorithm: jose.PS256, PublishAhead: time.Hour, ActiveFor: 24 * time.Hour, MaxTokenLife: time.Minute}
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	next := Record{KID: "next", Algorithm: jose.PS256, Published: now, Activate: now.Add(time.Hour)}
	before := Record{KID: "before", Algorithm: jose.ES256, Published: now.Add(-24 * time.Hour), Activate: now.Add(-23 * time.Hour)}
	over := before
	over.Deactivate, over.Remove = now.Add(-time.Minute), now.Add(time.Hour)
	for name, c := range map[string]struct {
		records []Record
		want    int
	}{
		"the key of the algorithm before":  {[]Record{before, next}, 0},
		"whose end has come":               {[]Record{over, next}, -1},
		"a clock that is behind all keys":  {[]Record{next}, 0},
		"none":                             {nil, -1},
		"a clock that is behind, and none": {[]Record{{KID: "w", Algorithm: jose.ES256, Activate: now.Add(1), Deactivate: now.Add(1)}}, -1},
	} {
		if got := signing(now, c.records, "", p); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
