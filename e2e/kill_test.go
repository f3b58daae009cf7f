package e2e_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// engines are the two stores, each with a fresh database.
func engines(t *testing.T) map[string]func(t *testing.T, name string) string {
	t.Helper()
	return map[string]func(*testing.T, string) string{
		"sqlite":   func(t *testing.T, name string) string { return "sqlite:" + filepath.Join(t.TempDir(), name+".db") },
		"postgres": func(t *testing.T, _ string) string { return pgtest.DSN(t) },
	}
}

// TestNoTokenWithoutRecordWhenKilled: a server that is killed at any moment has never given out a token whose audit
// record is not on disk.
func TestNoTokenWithoutRecordWhenKilled(t *testing.T) {
	t.Parallel()
	const kills = 20
	for name, store := range engines(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{stsStore: store(t, "sts"), noExecutor: true})
			w.apply(t, "acme")
			subject := w.idp.idToken(t, "acme")
			received := map[string]bool{}
			for range kills {
				for id := range w.loadUntilKilled(t, subject) {
					received[id] = true
				}
				w.sts.start(t)
				w.sts.await(t, w.stsAddr)
			}
			if len(received) < kills {
				t.Fatalf("%d tokens in %d lives: the load is too small to show anything", len(received), kills)
			}
			recorded := w.approved(t, "acme")
			for id := range received {
				if !recorded[id] {
					t.Errorf("a client received the token of %s, which has no audit record", id)
				}
			}
			t.Logf("%d kills, %d tokens received, %d approvals recorded", kills, len(received), len(recorded))
		})
	}
}

// loadUntilKilled exchanges on several connections, kills the server in the middle, and returns the action ids of the
// tokens that came through.
func (w *world) loadUntilKilled(t *testing.T, subject string) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	received := map[string]bool{}
	first := make(chan struct{}, 1)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			conn, err := grpc.NewClient(w.stsAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for c := obov1.NewExchangeServiceClient(conn); ctx.Err() == nil; {
				r, err := w.first(ctx, c, "acme", subject, "tracker:issues:read")
				if err != nil {
					return // killed
				}
				mu.Lock()
				received[r.GetActionId()] = true
				mu.Unlock()
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	select {
	case <-first:
	case <-ctx.Done():
		t.Error("no exchange came through")
	}
	time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // the moment of the kill is the point
	w.sts.kill()
	cancel()
	clients.Wait()
	return received
}

// approved are the action ids of an org's approved exchanges.
func (w *world) approved(t *testing.T, org string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, r := range w.records(t, w.stsAddr, org) {
		if r.GetKind() == "exchange" && r.GetOutcome() == "approved" {
			out[r.GetActionId()] = true
		}
	}
	return out
}

// records reads an org's whole trail at a server.
func (w *world) records(t *testing.T, addr, org string) []*obov1.AuditRecord {
	t.Helper()
	c := obov1.NewAuditServiceClient(dial(t, addr))
	var out []*obov1.AuditRecord
	for after := uint64(0); ; {
		page, err := c.ListRecords(bearer(t.Context(), w.admin), &obov1.ListRecordsRequest{OrgId: org, After: after, PageSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.GetRecords()...)
		if after = page.GetNext(); after == 0 {
			return out
		}
	}
}
