package auditgrpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trail is a store in memory, written through a real log.
type trail struct {
	mu      sync.Mutex
	records []store.AuditRecord
	gap     uint64 // added to each sequence number
	err     error
}

func (tr *trail) AppendAudit(_ context.Context, records []store.AuditRecord) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, r := range records {
		r.Sequence = uint64(len(tr.records)+1) + tr.gap
		tr.records = append(tr.records, r)
	}
	return nil
}

func (tr *trail) read(_ context.Context, org delegation.OrgID, q store.AuditQuery) (out []store.AuditRecord, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if q.Limit < 1 || q.Limit > 1000 {
		return nil, fmt.Errorf("limit %d", q.Limit)
	}
	for _, r := range tr.records {
		if r.Org == org && r.Sequence > q.After && (q.Action == "" || q.Action == r.ActionID || q.Action == r.Transaction) && len(out) < q.Limit {
			out = append(out, r)
		}
	}
	return out, tr.err
}

func (tr *trail) write(t *testing.T, org delegation.OrgID, actions ...string) {
	t.Helper()
	l, err := audit.Open(audit.Config{Store: tr})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.Background())
	for _, action := range actions {
		txn, _, _ := strings.Cut(action, ".")
		if err := l.Record(context.Background(), audit.Record{ActionID: action, Transaction: txn, Org: org, Kind: audit.KindExchange,
			Outcome: audit.OutcomeApproved, Chain: []string{"agent:acme/a"}, Status: 201}); err != nil {
			t.Fatal(err)
		}
	}
}

func server(t *testing.T, tr *trail) *Server {
	t.Helper()
	s, err := New(Config{Records: tr.read})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func actions(records []*obov1.AuditRecord) (out []string) {
	for _, r := range records {
		out = append(out, r.GetActionId())
	}
	return out
}

func TestListRecords(t *testing.T) {
	t.Parallel()
	tr := &trail{}
	tr.write(t, "acme", "t1.a", "t1.b", "t2.c")
	tr.write(t, "other", "t9.x")
	tr.write(t, store.PlatformOrg, "admin.1")
	s := server(t, tr)
	for _, tt := range []struct {
		name string
		r    *obov1.ListRecordsRequest
		want []string
		next uint64
	}{
		{"all", &obov1.ListRecordsRequest{OrgId: "acme"}, []string{"t1.a", "t1.b", "t2.c"}, 0},
		{"an action", &obov1.ListRecordsRequest{OrgId: "acme", ActionId: "t1.b"}, []string{"t1.b"}, 0},
		{"a transaction", &obov1.ListRecordsRequest{OrgId: "acme", ActionId: "t1"}, []string{"t1.a", "t1.b"}, 0},
		{"first page", &obov1.ListRecordsRequest{OrgId: "acme", PageSize: 2}, []string{"t1.a", "t1.b"}, 2},
		{"second page", &obov1.ListRecordsRequest{OrgId: "acme", PageSize: 2, After: 2}, []string{"t2.c"}, 0},
		{"another org", &obov1.ListRecordsRequest{OrgId: "other"}, []string{"t9.x"}, 0},
		{"another org's action", &obov1.ListRecordsRequest{OrgId: "other", ActionId: "t1.a"}, nil, 0},
		{"the platform's", &obov1.ListRecordsRequest{OrgId: "_platform"}, []string{"admin.1"}, 0},
		{"nobody's", &obov1.ListRecordsRequest{OrgId: "nobody"}, nil, 0},
	} {
		out, err := s.ListRecords(t.Context(), tt.r)
		if err != nil || !slices.Equal(actions(out.GetRecords()), tt.want) || out.GetNext() != tt.next {
			t.Errorf("%s: %v, next %d, %v", tt.name, actions(out.GetRecords()), out.GetNext(), err)
		}
	}
	out, err := s.ListRecords(t.Context(), &obov1.ListRecordsRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if r := out.GetRecords()[0]; r.GetSequence() != 1 || r.GetStatus() != 201 || r.GetOrgId() != "acme" || r.GetTime() == nil || len(r.GetChain()) != 1 {
		t.Errorf("record %v", r)
	}
}

func TestListRecordsRefuses(t *testing.T) {
	t.Parallel()
	tr := &trail{}
	tr.write(t, "acme", "t1.a")
	s := server(t, tr)
	for field, r := range map[string]*obov1.ListRecordsRequest{
		"org_id":    {OrgId: "Acme Inc"},
		"action_id": {OrgId: "acme", ActionId: strings.Repeat("a", 257)},
		"page_size": {OrgId: "acme", PageSize: 1001},
	} {
		_, err := s.ListRecords(t.Context(), r)
		checkStatus(t, err, codes.InvalidArgument, field)
	}
	_, err := s.ListRecords(t.Context(), &obov1.ListRecordsRequest{})
	checkStatus(t, err, codes.InvalidArgument, "org_id")
	_, err = s.ListRecords(t.Context(), &obov1.ListRecordsRequest{OrgId: "acme", ActionId: "a\x00"})
	checkStatus(t, err, codes.InvalidArgument, "action_id")
	_, err = s.ListRecords(t.Context(), &obov1.ListRecordsRequest{OrgId: "acme", PageSize: -1})
	checkStatus(t, err, codes.InvalidArgument, "page_size")

	tr.records[0].Transaction = "t2" // an edited row is an error, not a hole
	if out, err := s.ListRecords(t.Context(), &obov1.ListRecordsRequest{OrgId: "acme"}); err == nil {
		t.Errorf("an edited record: %v", out)
	}
	tr.err = errors.New("disk on fire at /var/lib/secret")
	_, err = s.ListRecords(t.Context(), &obov1.ListRecordsRequest{OrgId: "acme"})
	checkStatus(t, err, codes.Unavailable, "")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells our inner state: %v", err)
	}
}

// checkStatus holds GR2 and GR3: the code, one ErrorInfo, and the field at fault.
func checkStatus(t *testing.T, err error, code codes.Code, field string) {
	t.Helper()
	s := status.Convert(err)
	infos := 0
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			infos++
		case *errdetails.BadRequest:
			if d.GetFieldViolations()[0].GetField() != field {
				t.Errorf("field %v, want %s", d, field)
			}
		}
	}
	if s.Code() != code || infos != 1 {
		t.Errorf("status %v with %d ErrorInfo, want %v", s, infos, code)
	}
}

// outlet is the server's end of a tail that the test reads.
type outlet struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan string
}

func (o *outlet) Context() context.Context     { return o.ctx }
func (o *outlet) SendHeader(metadata.MD) error { return nil }
func (o *outlet) Send(m *obov1.TailRecordsResponse) error {
	o.sent <- m.GetRecord().GetActionId()
	return nil
}

func (o *outlet) received() (out []string) {
	synctest.Wait()
	for len(o.sent) > 0 {
		out = append(out, <-o.sent)
	}
	return out
}

func TestTailRecords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after uint64
		first []string
	}{{0, nil}, {1, []string{"t1.b"}}} {
		synctest.Test(t, func(t *testing.T) {
			tr := &trail{}
			tr.write(t, "acme", "t1.a", "t1.b")
			s := server(t, tr)
			ctx, cancel := context.WithCancel(t.Context())
			out, done := &outlet{ctx: ctx, sent: make(chan string, 5000)}, make(chan error, 1)
			go func() { done <- s.TailRecords(&obov1.TailRecordsRequest{OrgId: "acme", After: tt.after}, out) }()
			if got := out.received(); !slices.Equal(got, tt.first) {
				t.Errorf("after %d: at first %v", tt.after, got)
			}
			tr.write(t, "acme", "t2.c")
			tr.write(t, "other", "t9.x")
			time.Sleep(time.Second)
			if got := out.received(); !slices.Equal(got, []string{"t2.c"}) {
				t.Errorf("after %d: then %v", tt.after, got)
			}
			var many []string
			for i := range 2500 { // more than a page between two looks
				many = append(many, fmt.Sprint("t3.", i))
			}
			tr.write(t, "acme", many...)
			time.Sleep(time.Second)
			if got := out.received(); !slices.Equal(got, many) {
				t.Errorf("after %d: %d of many", tt.after, len(got))
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the tail ends with %v", err)
			}
		})
	}
}

func TestTailRefuses(t *testing.T) {
	t.Parallel()
	err := server(t, &trail{}).TailRecords(&obov1.TailRecordsRequest{}, &outlet{ctx: t.Context()})
	checkStatus(t, err, codes.InvalidArgument, "org_id")
	if s, err := New(Config{}); err == nil || s != nil {
		t.Errorf("New = %v, %v", s, err)
	}
}

// TestNewest: the search finds what a listing would.
func TestNewest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		tr := &trail{gap: rapid.Uint64Range(0, 1<<50).Draw(r, "gap")}
		n := rapid.IntRange(0, 3).Draw(r, "records")
		var names []string
		for i := range n {
			names = append(names, fmt.Sprint("t.", i))
		}
		tr.write(t, "acme", names...)
		want := uint64(0)
		if n > 0 {
			want = uint64(n) + tr.gap
		}
		if got, err := server(t, tr).newest(context.Background(), "acme"); err != nil || got != want {
			r.Errorf("newest = %d, %v, want %d", got, err, want)
		}
	})
}
