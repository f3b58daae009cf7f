package storetest

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// trail is the part that both stores share.
type trail struct {
	append func(context.Context, []store.AuditRecord) error
	read   func(context.Context, delegation.OrgID, store.AuditQuery) ([]store.AuditRecord, error)
}

func stsTrail[O STSOrg](s STS[O]) trail {
	return trail{s.AppendAudit, func(ctx context.Context, id delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
		return s.Org(id).AuditRecords(ctx, q)
	}}
}

func executorTrail[O ExecutorOrg](e Executor[O]) trail {
	return trail{e.AppendAudit, func(ctx context.Context, id delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
		return e.Org(id).AuditRecords(ctx, q)
	}}
}

func testAudit(t *testing.T, a, b trail) {
	ctx := t.Context()
	ok(t, a.append(ctx, nil))
	equal(t, got(a.read(ctx, "audit", store.AuditQuery{Limit: 10}))(t), nil)
	record := func(action, transaction string, n int) store.AuditRecord {
		return store.AuditRecord{
			Org: "audit", ActionID: action, Transaction: transaction, Time: at(n), Body: fmt.Appendf(nil, "{\"n\": %d}\n", n),
		}
	}
	records := []store.AuditRecord{
		record("txn.one", "txn", 1),
		record("txn.two", "txn", 2),
		record("txn.two.x", "txn.two", 3), // transaction ids may hold dots, and be another's action id
		record("audit.admin", "", 4),
		record("TXN.one", "TXN", 5),
		record("elsewhere", "txn", 6),
		record("txn.one", "txn", 7),
	}
	other := record("txn.one", "txn", 9)
	other.Org = "audit-other"
	ok(t, a.append(ctx, append(records[:4:4], other)))
	ok(t, b.append(ctx, records[4:]))

	all := got(b.read(ctx, "audit", store.AuditQuery{Limit: 10}))(t)
	for i := range min(len(records), len(all)) {
		if i > 0 && all[i].Sequence <= all[i-1].Sequence {
			t.Errorf("sequence %d after %d", all[i].Sequence, all[i-1].Sequence)
		}
		records[i].Sequence = all[i].Sequence
	}
	equal(t, all, records) // bodies byte for byte, in the order in which they were given

	pick := func(n ...int) (out []store.AuditRecord) {
		for _, i := range n {
			out = append(out, records[i-1])
		}
		return out
	}
	for _, c := range []struct {
		name string
		q    store.AuditQuery
		want []store.AuditRecord
	}{
		{"by transaction", store.AuditQuery{Action: "txn", Limit: 10}, pick(1, 2, 6, 7)},
		{"by action", store.AuditQuery{Action: "txn.one", Limit: 10}, pick(1, 7)},
		{"by an action that is a transaction too", store.AuditQuery{Action: "txn.two", Limit: 10}, pick(2, 3)},
		{"by an action with dots", store.AuditQuery{Action: "txn.two.x", Limit: 10}, pick(3)},
		{"by an action of no transaction", store.AuditQuery{Action: "audit.admin", Limit: 10}, pick(4)},
		{"by an action of another form", store.AuditQuery{Action: "elsewhere", Limit: 10}, pick(6)},
		{"case", store.AuditQuery{Action: "TXN", Limit: 10}, pick(5)},
		{"a part of an id is none", store.AuditQuery{Action: "tx", Limit: 10}, nil},
		{"a pattern is none", store.AuditQuery{Action: "txn.%", Limit: 10}, nil},
		{"first page", store.AuditQuery{Limit: 2}, pick(1, 2)},
		{"next page", store.AuditQuery{Limit: 2, After: records[1].Sequence}, pick(3, 4)},
		{"page of a transaction", store.AuditQuery{Action: "txn", Limit: 2, After: records[0].Sequence}, pick(2, 6)},
		{"past the end", store.AuditQuery{Limit: 10, After: math.MaxUint64}, nil},
		{"limit below", store.AuditQuery{Limit: 0}, pick(1)},
		{"limit above", store.AuditQuery{Limit: math.MaxInt32}, records},
	} {
		t.Run(c.name, func(t *testing.T) { equal(t, got(a.read(ctx, "audit", c.q))(t), c.want) })
	}
}

// The trail is read by a cursor, and its Merkle tree is built by one: no record may appear behind it.
func testAuditInOrder(t *testing.T, a, b trail) {
	ctx := t.Context()
	const groups, size = 40, 3
	written := map[string]int{}
	inOrder(t, groups*size, func(i int) error {
		if i%size != 0 {
			return nil
		}
		writer, group := a, make([]store.AuditRecord, 0, size)
		if i%2 == 1 {
			writer = b
		}
		for n := range size {
			group = append(group, store.AuditRecord{
				Org: "audit-order", ActionID: fmt.Sprintf("%d.%d", i, n), Time: at(i), Body: []byte("{}"),
			})
		}
		return writer.append(ctx, group)
	}, func(after uint64) (sequences []uint64, err error) {
		page, err := b.read(ctx, "audit-order", store.AuditQuery{After: after, Limit: 5})
		for _, r := range page {
			sequences = append(sequences, r.Sequence)
			written[r.ActionID]++
		}
		return sequences, err
	})
	equal(t, len(written), groups*size)
}

// A group is written as a whole or not at all, and a failure leaves the store fit for use.
func testAuditAtomic(t *testing.T, a trail) {
	ctx := t.Context()
	good := store.AuditRecord{Org: "audit-atomic", ActionID: "a", Time: at(1)}
	bad := good
	bad.Org = "" // no org has this id
	if err := a.append(ctx, []store.AuditRecord{good, bad, good}); err == nil {
		t.Error("a record of no org was accepted")
	}
	equal(t, got(a.read(ctx, "audit-atomic", store.AuditQuery{Limit: 10}))(t), nil)
	ok(t, a.append(ctx, []store.AuditRecord{good}))
	equal(t, len(got(a.read(ctx, "audit-atomic", store.AuditQuery{Limit: 10}))(t)), 1)
}
