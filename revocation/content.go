package revocation

import (
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// content is the entries of a set, by org and by the minute in which they end.
//
// No id is kept: a key is 96 bits of two hashes under seeds of this process, so that a million entries fit in 100 MiB and hold
// nothing for the collector to follow. Two keys that share all 96 bits, which nobody outside can bring about, would refuse more
// and never less.
type content struct {
	seeds [2]maphash.Seed
	orgs  map[delegation.OrgID]*entries
	due   map[uint32][]ref // by the minute of until
	count int
}

// entries are one org's. Most keys have one span; the others of a slot are in more.
type entries struct {
	first  map[uint64]span
	more   map[uint64][]span
	scoped int // how many were ever added for single scopes
}

// key is what an entry is compared with.
type key struct {
	kind      Kind
	id, scope string
}

// span is when an entry refuses, in seconds since 1970: tokens issued from since on that began up to before, until until.
type span struct{ check, since, before, until uint32 }

// ref finds the entries of a slot that end.
type ref struct {
	org  *entries
	slot uint64
}

func newContent() content {
	return content{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		orgs:  map[delegation.OrgID]*entries{}, due: map[uint32][]ref{},
	}
}

func (c *content) slot(k key) uint64  { return k.hash(c.seeds[0]) }
func (c *content) check(k key) uint32 { return uint32(k.hash(c.seeds[1])) }

// hash turns the parts against each other, so that none can stand for another. (maphash.Comparable takes four times as long.)
func (k key) hash(seed maphash.Seed) uint64 {
	h := maphash.String(seed, k.id) ^ bits.RotateLeft64(maphash.String(seed, string(k.kind)), 17)
	if k.scope != "" {
		h ^= bits.RotateLeft64(maphash.String(seed, k.scope), 31)
	}
	return h
}

func (c *content) add(e store.Revocation) {
	org := c.orgs[e.Org]
	if org == nil {
		org = &entries{first: map[uint64]span{}, more: map[uint64][]span{}}
		c.orgs[e.Org] = org
	}
	k := key{Kind(e.Kind), e.ID, e.Scope}
	if k.scope != "" {
		org.scoped++
	}
	slot := c.slot(k)
	s := span{check: c.check(k), since: floor(e.Since), before: floor(e.Before), until: ceiling(e.Until)}
	old := org.put(slot, s)
	if old == nil {
		c.count++
	}
	if minute := s.until / 60; old == nil || minute > old.until/60 {
		c.due[minute] = append(c.due[minute], ref{org, slot})
	}
}

// put adds a span to a slot, and returns the one that it extends, if there is one.
func (e *entries) put(slot uint64, s span) (old *span) {
	first, taken := e.first[slot]
	more := e.more[slot]
	switch at := slices.IndexFunc(more, s.extends); {
	case !taken:
		e.first[slot] = s
	case s.extends(first):
		e.first[slot] = s.with(first)
		return &first
	case at >= 0:
		before := more[at]
		more[at] = s.with(before)
		return &before
	default:
		e.more[slot] = append(more, s)
	}
	return nil
}

// extends reports whether two spans are of one key and from one time on, so that one can stand for both.
func (s span) extends(other span) bool { return s.check == other.check && s.since == other.since }

func (s span) with(other span) span {
	s.before, s.until = max(s.before, other.before), max(s.until, other.until)
	return s
}

// expire forgets what has ended by now.
func (c *content) expire(now uint32) {
	for minute, refs := range c.due {
		if minute >= now/60 {
			continue // some of this minute may still be in force
		}
		for _, r := range refs {
			c.count -= r.org.expire(r.slot, now)
		}
		delete(c.due, minute)
	}
	for id, org := range c.orgs {
		if len(org.first) == 0 {
			delete(c.orgs, id)
		}
	}
}

// expire forgets the spans of a slot that ended before now, and returns how many.
func (e *entries) expire(slot uint64, now uint32) int {
	first, ok := e.first[slot]
	if !ok {
		return 0 // by an earlier ref
	}
	all := append([]span{first}, e.more[slot]...)
	live := slices.DeleteFunc(slices.Clone(all), func(s span) bool { return s.until/60 < now/60 })
	delete(e.first, slot)
	delete(e.more, slot)
	if len(live) > 0 {
		e.first[slot] = live[0]
	}
	if len(live) > 1 {
		e.more[slot] = live[1:]
	}
	return len(all) - len(live)
}

// floor is the second of t, 0 for any time before 1970 and for the zero time.
func floor(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// ceiling is the second at which t is past.
func ceiling(t time.Time) uint32 { return floor(t.Add(time.Second - 1)) }
