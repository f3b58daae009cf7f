package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// list is what the law of pages knows of a list: how to read it, and how others change it meanwhile.
type list[K cmp.Ordered] struct {
	page func(after K, limit int) []K
	add  func(rt *rapid.T) (K, bool) // a new item, anywhere; false when it was there already
	drop func(K) []K                 // lets an item go, and says which others went with it; nil when nothing ever goes
}

// law reads a list in pages of any size while items come and go between them. Whatever is there from before the first page to
// after the last is read exactly once, and in order; nothing is read twice; what is read was there at some time.
func (l list[K]) law(rt *rapid.T) {
	present, ever := map[K]bool{}, map[K]bool{}
	add := func() {
		if k, fresh := l.add(rt); fresh {
			present[k], ever[k] = true, true
		}
	}
	for range rapid.IntRange(0, 20).Draw(rt, "before") {
		add()
	}
	stayed := map[K]bool{}
	for k := range present {
		stayed[k] = true
	}
	var read []K
	var after K
	for {
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		items := l.page(after, limit)
		read = append(read, items...)
		if len(items) < limit {
			break
		}
		after = items[len(items)-1]
		for range rapid.IntRange(0, 3).Draw(rt, "meanwhile") {
			if l.drop == nil || len(present) == 0 || rapid.Bool().Draw(rt, "add") {
				if len(ever) < 40 {
					add()
				}
				continue
			}
			keys := make([]K, 0, len(present))
			for k := range present {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			k := rapid.SampledFrom(keys).Draw(rt, "drop")
			for _, gone := range append(l.drop(k), k) {
				delete(present, gone)
				delete(stayed, gone)
			}
		}
	}
	for i, k := range read {
		if i > 0 && read[i-1] >= k {
			rt.Fatalf("%v after %v: read twice, or out of order", k, read[i-1])
		}
		if !ever[k] {
			rt.Fatalf("%v was never there", k)
		}
		delete(stayed, k)
	}
	if len(stayed) > 0 {
		rt.Fatalf("%v were left out of %v", stayed, read)
	}
}

func testConnectionPages[O ExecutorOrg](t *testing.T, open Open[Executor[O]]) {
	e, run := handle(t, open), 0
	ctx := context.WithoutCancel(t.Context())
	rapid.Check(t, func(rt *rapid.T) {
		run++
		org := e.Org(delegation.OrgID(fmt.Sprintf("pages-%d", run)))
		ok(t, e.Org("other").PutConnection(ctx, connection(fmt.Sprint(run), 1), ""))
		known := map[string]bool{}
		list[string]{
			page: func(after string, limit int) (ids []string) {
				for _, c := range got(org.Connections(ctx, after, limit))(t) {
					ids = append(ids, c.ID)
				}
				return ids
			},
			add: func(rt *rapid.T) (string, bool) {
				id := rapid.StringMatching("[a-z0-9]{1,3}").Draw(rt, "id")
				if known[id] {
					return id, false
				}
				known[id] = true
				ok(t, org.PutConnection(ctx, connection(id, 1), ""))
				return id, true
			},
			drop: func(id string) []string {
				ok(t, org.DeleteConnection(ctx, id, 0, at(9)))
				return nil
			},
		}.law(rt)
	})
}

func testOrgPages[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s, run := context.WithoutCancel(t.Context()), handle(t, open), 0
	ok(t, s.Org(store.PlatformOrg).PutConfig(ctx, store.OrgConfig{Version: 1}))
	rapid.Check(t, func(rt *rapid.T) {
		run++
		known, mine := map[delegation.OrgID]bool{}, fmt.Sprintf("p%d-", run) // orgs never go, so each run has its part of them
		list[delegation.OrgID]{
			page: func(after delegation.OrgID, limit int) []delegation.OrgID {
				orgs := got(s.OrgsPage(ctx, cmp.Or(after, delegation.OrgID(mine)), limit))(t)
				return slices.DeleteFunc(orgs, func(id delegation.OrgID) bool { return !strings.HasPrefix(string(id), mine) })
			},
			add: func(rt *rapid.T) (delegation.OrgID, bool) {
				id := delegation.OrgID(mine + rapid.StringMatching("[a-z0-9]{1,3}").Draw(rt, "id"))
				version := int64(1)
				if known[id] {
					version = 2
				}
				err := s.Org(id).PutConfig(ctx, store.OrgConfig{Version: version}) // an org of several versions is one org
				if version == 1 {
					ok(t, err)
				}
				fresh := !known[id]
				known[id] = true
				return id, fresh
			},
		}.law(rt)
	})
}

func testRevocationPages[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s, run := context.WithoutCancel(t.Context()), handle(t, open), 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		org, now, until := s.Org(delegation.OrgID(fmt.Sprintf("pages-%d", run))), 0, map[uint64]int{}
		list[uint64]{
			page: func(after uint64, limit int) (sequences []uint64) {
				for _, r := range got(org.RevocationsPage(ctx, after, at(now), limit))(t) {
					sequences = append(sequences, r.Sequence)
				}
				return sequences
			},
			add: func(rt *rapid.T) (uint64, bool) {
				end := now + rapid.IntRange(1, 9).Draw(rt, "life")
				got(s.Org("other").Revoke(ctx, store.Revocation{Kind: "token", ID: "x", Until: at(end)}))(t)
				sequence := got(org.Revoke(ctx, store.Revocation{Kind: "token", ID: "x", Until: at(end)}))(t)
				until[sequence] = end
				return sequence, true
			},
			drop: func(sequence uint64) (with []uint64) { // time passes, and what has expired is purged
				now = max(now, until[sequence]+1)
				ok(t, s.PurgeExpired(ctx, at(now)))
				for other, end := range until {
					if end < now {
						with = append(with, other)
					}
				}
				return with
			},
		}.law(rt)
	})
}
