package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/onbehalf/obo/store"
)

// changes reads changes without their marks, of which none is zero.
func changes[O STSOrg](t *testing.T, s STS[O], after uint64, limit int) []store.Change {
	t.Helper()
	out := got(s.Changes(t.Context(), after, limit))(t)
	for i := range out {
		if out[i].Mark == 0 {
			t.Errorf("change %d has no mark", out[i].Sequence)
		}
		out[i].Mark = 0
	}
	return out
}

// Pages put together are the whole, and a mark stays what it is.
func testPages[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	var all []store.Revocation
	for i := range 25 {
		r := store.Revocation{Org: "pages", Kind: "token", ID: fmt.Sprint(i), Before: at(1), Until: at(9 + i%2)}
		r.Sequence = got(s.Org("pages").Revoke(ctx, r))(t)
		if i%2 == 1 {
			all = append(all, r)
		}
	}
	var paged []store.Revocation
	for after := uint64(0); ; {
		page := got(s.Revocations(ctx, after, at(10), 5))(t)
		paged = append(paged, page...)
		if len(page) < 5 {
			break
		}
		after = page[4].Sequence
	}
	equal(t, paged, all)
	equal(t, len(got(s.Revocations(ctx, 0, at(10), -1))(t)), 1) // a limit outside the range is moved to its end

	marks := got(s.Changes(ctx, 0, 100))(t)
	equal(t, got(handle(t, open).Changes(ctx, 0, 100))(t), marks)
	if marks[0].Mark == marks[1].Mark {
		t.Error("two changes have one mark")
	}
}

func testReplicaRecords[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	equal(t, got(s.Replicas(ctx))(t), nil)
	put := func(id string, since, seen int) store.Replica {
		r := store.Replica{ID: id, Since: at(since), Seen: at(seen), Document: fmt.Append(nil, id, seen)}
		ok(t, s.PutReplica(ctx, r, time.Time{}))
		return r
	}
	b, a := put("b", 1, 1), put("a", 2, 2)
	equal(t, got(s.Replicas(ctx))(t), []store.Replica{b, a}) // in the order of their start
	b = put("b", 1, 5)
	equal(t, got(handle(t, open).Replicas(ctx))(t), []store.Replica{b, a})
	c := store.Replica{ID: "c", Since: at(3), Seen: at(6), Document: []byte("{}")}
	ok(t, s.PutReplica(ctx, c, at(3))) // a was not seen since: it is forgotten
	equal(t, got(s.Replicas(ctx))(t), []store.Replica{b, c})
	ok(t, s.DeleteReplica(ctx, "b"))
	ok(t, s.DeleteReplica(ctx, "b")) // again
	equal(t, got(s.Replicas(ctx))(t), []store.Replica{c})
	equal(t, got(s.Head(ctx))(t), 0) // no change of any org

	lost := errors.New("the answer was lost")
	f := &FaultySTS[O]{Store: s, Hook: func(c Call) Fault { return Fault{After: lost} }}
	is(t, f.PutReplica(ctx, a, time.Time{}), lost)
	equal(t, len(got(s.Replicas(ctx))(t)), 2)
}
