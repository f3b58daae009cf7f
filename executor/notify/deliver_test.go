package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/vault"
)

// TestDelivery: what a receiver gets, from the event after the webhook was put on; and nowhere the secret or the account's name.
func TestDelivery(t *testing.T) {
	t.Parallel()
	db, path := openSQLite(t)
	r := newRig[*sqlite.ExecutorOrg](t, db)
	in := newReceiver(t)
	r.happen(1, 2) // before anybody wanted to know
	r.put(in.URL + "/hook")
	r.happen(3, 5)
	must(t, db.Org("acme").DeleteConnection(t.Context(), "c-003", 0, r.clock.Now()))
	due, err := db.DueWebhooks(t.Context(), r.clock.Now(), 10)
	if err != nil || len(due) != 1 {
		t.Fatalf("%v are due, %v", due, err)
	}
	r.process(nil).deliver(t.Context(), "acme")
	all := in.got()
	inOrder(t, all, 3, 6)
	want := `{"type":"connection.status_changed","timestamp":"2026-05-06T07:08:09.123456Z","data":{"org_id":"acme","sequence":3,` +
		`"connection":"c-003","provider":"github","subject":"user:acme/okta|alice","old_status":"","new_status":"active","reason":"because"}}`
	if all[0].body != want {
		t.Errorf("got  %s\nwant %s", all[0].body, want)
	}
	if !strings.Contains(all[3].body, `"old_status":"active","new_status":""`) {
		t.Errorf("deleted: %s", all[3].body)
	}
	if w := r.webhook(); w.Delivered != 6 || w.Failures != 0 || !w.Until.IsZero() {
		t.Errorf("it stands at %+v", w)
	}
	must(t, r.webhooks().Test(t.Context(), "acme", r.webhook()))
	in.answers(func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) })
	r.happen(6, 6)
	r.process(nil).deliver(t.Context(), "acme")
	if !strings.Contains(r.log.text(), "HTTP status 418") {
		t.Errorf("the log: %s", r.log.text())
	}

	everywhere := r.log.text()
	for _, g := range in.got() {
		everywhere += g.body + g.id
	}
	if strings.Contains(everywhere, "label-of-the-account") || strings.Contains(everywhere, "hint") || strings.Contains(everywhere, "/hook") {
		t.Errorf("what is nobody's business: %s", everywhere)
	}
	for _, name := range []string{path, path + "-wal"} {
		data, err := os.ReadFile(name)
		must(t, err)
		everywhere += string(data)
	}
	encoded := strings.TrimPrefix(secret().Reveal(), secretPrefix)
	if strings.Contains(everywhere, string(key)) || strings.Contains(everywhere, encoded) {
		t.Error("the secret is in a body, the log or the database")
	}
	if !strings.Contains(everywhere, in.URL) {
		t.Error("the database was not read: this shows nothing")
	}
}

// TestReceivers: whoever does not take an event is asked again later, with the same event under the same id, and told no other.
func TestReceivers(t *testing.T) {
	t.Parallel()
	elsewhere := newReceiver(t)
	for name, c := range map[string]struct {
		answer func(n int, w http.ResponseWriter)
		want   string
		paused bool
		wait   time.Duration // at least
	}{
		"500": {func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, "it answers with HTTP status 500", false, firstWait / 2},
		"says when": {func(_ int, w http.ResponseWriter) {
			w.Header().Set("Retry-After", "90")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "HTTP status 503", false, 90 * time.Second},
		"says much later": {func(_ int, w http.ResponseWriter) {
			w.Header().Set("Retry-After", "60000")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "HTTP status 429", false, time.Hour},
		"gone": {func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusGone) }, "does not want events any more", true, 0},
		"redirects": {func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "a redirect, which is not followed", false, 0},
		"hangs up": {func(int, http.ResponseWriter) { panic(http.ErrAbortHandler) }, "it cannot be reached", false, 0},
		"slow":     {func(_ int, w http.ResponseWriter) { <-w.(asked).gone }, "it did not answer within 10s", false, 0},
		"endless": {func(_ int, w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(MaxAnswer+1))
			w.WriteHeader(http.StatusOK)
		}, "its answer is too large", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, _ := openSQLite(t)
			r := newRig[*sqlite.ExecutorOrg](t, db)
			in := newReceiver(t)
			in.answers(c.answer)
			r.put(in.URL)
			r.happen(1, 3)
			begun := r.clock.Now()
			r.process(nil).deliver(t.Context(), "acme")
			w := r.webhook()
			if w.Delivered != 0 || w.Failures != 1 || !w.Since.Equal(begun) || !strings.Contains(w.Failure, c.want) || w.Paused != c.paused ||
				w.Next.Before(begun.Add(c.wait)) || w.Next.After(begun.Add(time.Hour)) {
				t.Errorf("it stands at %+v", w)
			}
			r.process(nil).deliver(t.Context(), "acme") // too early
			if n := len(in.got()); n != 1 {
				t.Errorf("asked %d times", n)
			}
			in.answers(nil)
			if c.paused {
				r.clock.add(30 * time.Hour)
				r.process(nil).deliver(t.Context(), "acme")
				if n := len(in.got()); n != 1 {
					t.Errorf("a paused one was asked %d times", n)
				}
				r.put(in.URL)
			}
			r.clock.add(time.Hour)
			r.process(nil).deliver(t.Context(), "acme")
			inOrder(t, in.got(), 1, 3)
			if w := r.webhook(); w.Delivered != 3 || w.Failures != 0 || w.Failure != "" || !w.Since.IsZero() {
				t.Errorf("it stands at %+v", w)
			}
		})
	}
	if len(elsewhere.got()) != 0 {
		t.Error("a redirect was followed")
	}
}

// TestReceiverIsDown: after three days it is paused, with the reason, and nothing is lost when it is put again.
func TestReceiverIsDown(t *testing.T) {
	t.Parallel()
	db, _ := openSQLite(t)
	r := newRig[*sqlite.ExecutorOrg](t, db)
	in := newReceiver(t)
	r.put("http://127.0.0.1:1/hook")
	r.happen(1, 2)
	n, begun, attempts := r.process(nil), r.clock.Now(), 0
	for !r.webhook().Paused {
		n.deliver(t.Context(), "acme")
		attempts++
		if r.clock.add(r.webhook().Next.Sub(r.clock.Now())); attempts > 1000 {
			t.Fatal("it never ends")
		}
	}
	if lasted := r.clock.Now().Sub(begun); lasted < giveUp || lasted > giveUp+2*time.Hour || attempts < 70 || attempts > 200 {
		t.Errorf("%d attempts in %v", attempts, lasted)
	}
	if w := r.webhook(); !strings.Contains(w.Failure, "cannot be reached") || !strings.Contains(r.log.text(), "told nothing more until it is put again") {
		t.Errorf("it stands at %+v", w)
	}
	if due, err := db.DueWebhooks(t.Context(), r.clock.Now().Add(time.Hour), 10); err != nil || len(due) != 0 {
		t.Errorf("%v are due, %v", due, err)
	}
	r.put(in.URL)
	n.deliver(t.Context(), "acme")
	inOrder(t, in.got(), 1, 2)
}

// TestPrivateAddress: without the operator's leave, no receiver on this machine or in its network is reached.
func TestPrivateAddress(t *testing.T) {
	t.Parallel()
	db, _ := openSQLite(t)
	r := newRig[*sqlite.ExecutorOrg](t, db)
	in := newReceiver(t)
	r.put(in.URL)
	r.happen(1, 1)
	r.http = egress.NewClient(egress.Config{Timeout: time.Second})
	r.process(nil).deliver(t.Context(), "acme")
	if w := r.webhook(); len(in.got()) != 0 || !strings.Contains(w.Failure, "not public") {
		t.Errorf("it stands at %+v", w)
	}
}

// TestKilled: whoever dies between the receiver's answer and the word of it has it told again, with the same id, and nothing twice that
// was on record.
func TestKilled(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]storetest.Fault{"before": {Before: errors.New("killed")}, "after": {After: errors.New("killed")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, _ := openSQLite(t)
			r := newRig[*sqlite.ExecutorOrg](t, db)
			in := newReceiver(t)
			r.put(in.URL)
			r.happen(1, 5)
			writes := 0
			r.process(func(c storetest.Call) storetest.Fault {
				if c.Method != "PutDelivery" {
					return storetest.Fault{}
				}
				if writes++; writes < 3 {
					return storetest.Fault{}
				}
				return fault // the third, and what follows
			}).deliver(t.Context(), "acme")
			if n := len(in.got()); n != 3 {
				t.Fatalf("%d events", n)
			}
			next := r.process(nil)
			if next.deliver(t.Context(), "acme"); len(in.got()) != 3 {
				t.Error("another delivered while the lease lasted")
			}
			r.clock.add(holdFor)
			next.deliver(t.Context(), "acme")
			inOrder(t, in.got(), 1, 5)
			if want := map[string]int{"before": 6, "after": 5}[name]; len(in.got()) != want {
				t.Errorf("%d messages, want %d", len(in.got()), want)
			}
		})
	}
}

// TestReplicas: two replicas that crash wherever the store is called, in front of a receiver that fails at random: no event is left out,
// the first time they come in order, and a repeat is the same.
func TestReplicas(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, r *rig[*sqlite.ExecutorOrg]) { replicas(t, r) },
		func(t *testing.T, r *rig[*postgres.ExecutorOrg]) { replicas(t, r) })
}

func replicas[O storetest.ExecutorOrg](t *testing.T, r *rig[O]) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 1))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	in := newReceiver(t)
	in.answers(func(_ int, w http.ResponseWriter) {
		if roll(10) == 0 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	r.put(in.URL)
	errCrash := errors.New("crashed")
	crashes := 0
	hook := func(storetest.Call) (f storetest.Fault) {
		switch roll(20) {
		case 0:
			f.Before = errCrash
		case 1:
			f.After = errCrash
		default:
			return f
		}
		mu.Lock()
		defer mu.Unlock()
		crashes++
		return f
	}
	const events = 120
	var busy sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		n := r.process(hook)
		busy.Go(func() {
			for ctx.Err() == nil && r.webhook().Delivered < events {
				n.deliver(ctx, "acme")
				r.clock.add(10 * time.Second) // so that what was left behind is found
			}
		})
	}
	r.happen(1, events)
	busy.Wait()
	if ctx.Err() != nil {
		t.Fatal("it did not end")
	}
	inOrder(t, in.got(), 1, events)
	if crashes == 0 || len(in.got()) == events {
		t.Errorf("%d crashes, %d messages: nothing was shown", crashes, len(in.got()))
	}
	t.Logf("%d events in %d messages, %d crashes", events, len(in.got()), crashes)
}

// TestOverdue: events that were kept no more when their turn came are passed over, and the log says which; so are they when nothing is
// left at all.
func TestOverdue(t *testing.T) {
	t.Parallel()
	db, _ := openSQLite(t)
	r := newRig[*sqlite.ExecutorOrg](t, db)
	in := newReceiver(t)
	r.put(in.URL)
	r.happen(1, 3)
	must(t, db.PurgeExpired(t.Context(), r.clock.Now().Add(store.EventsKept+time.Second)))
	r.process(nil).deliver(t.Context(), "acme")
	if w := r.webhook(); w.Delivered != 3 || len(in.got()) != 0 || !strings.Contains(r.log.text(), `"from":1,"to":3`) {
		t.Errorf("it stands at %+v; %s", w, r.log.text())
	}
	r.happen(4, 5)
	r.clock.add(store.EventsKept + time.Second)
	r.happen(6, 7)
	must(t, db.PurgeExpired(t.Context(), r.clock.Now()))
	r.process(nil).deliver(t.Context(), "acme")
	inOrder(t, in.got(), 6, 7)
	if !strings.Contains(r.log.text(), `"from":4,"to":5`) {
		t.Errorf("the log: %s", r.log.text())
	}
}

// TestSecretIsGone: shredding the org ends its webhook; a rotation of the data key in the middle of a delivery does not.
func TestSecretIsGone(t *testing.T) {
	t.Parallel()
	db, _ := openSQLite(t)
	r := newRig[*sqlite.ExecutorOrg](t, db)
	in := newReceiver(t)
	r.put(in.URL)
	r.happen(1, 3)
	safe := r.sender().Vault.(*vault.Vault)
	rotator, err := vault.NewRotator(safe, func(id delegation.OrgID) vault.RotateStore { return db.Org(id) })
	must(t, err)
	in.answers(func(n int, _ http.ResponseWriter) {
		if n != 1 {
			return
		}
		ctx := context.WithoutCancel(t.Context())
		old, err := rotator.Renew(ctx, "acme")
		if err == nil {
			err = errors.Join(old.Take(ctx), rotator.Walk(ctx, "acme", func() error { return nil }))
		}
		if err == nil {
			old, err = rotator.Drop(ctx, "acme", old.Before[0])
		}
		if err == nil {
			err = old.Take(ctx)
		}
		if err != nil {
			t.Error(err)
		}
	})
	n := r.process(nil)
	for range 2 { // the second turn has the secret as it is sealed now
		n.deliver(t.Context(), "acme")
	}
	inOrder(t, in.got(), 1, 3)
	if w := r.webhook(); w.Failures != 0 || w.Paused {
		t.Errorf("after a rotation: %+v", w)
	}

	must(t, safe.Shred(t.Context(), "acme"))
	r.happen(4, 4)
	n.deliver(t.Context(), "acme")
	if w := r.webhook(); !w.Paused || !strings.Contains(w.Failure, "secret does not open") || len(in.got()) != 3 {
		t.Errorf("after shredding: %+v", w)
	}
	if failure, ok := errors.AsType[*Failure](r.webhooks().Test(t.Context(), "acme", r.webhook())); !ok {
		t.Errorf("a test after shredding: %v", failure)
	}
	r.put(in.URL)
	n.deliver(t.Context(), "acme")
	inOrder(t, in.got(), 1, 4)
}

// TestRun: what becomes due is delivered; and what is under way when the server ends is finished, and on record.
func TestRun(t *testing.T) {
	t.Parallel()
	db, _ := openSQLite(t)
	r := newRig[*sqlite.ExecutorOrg](t, db)
	in := newReceiver(t)
	came, goOn := make(chan int, 10), make(chan struct{})
	in.answers(func(n int, _ http.ResponseWriter) {
		came <- n
		<-goOn
	})
	r.put(in.URL)
	stop := run(t.Context(), r.process(nil))
	r.happen(1, 2)
	<-came
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("it ended with an event under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	<-stopped
	if w := r.webhook(); w.Delivered != 1 || !w.Until.IsZero() {
		t.Errorf("it stands at %+v", w)
	}
	defer run(t.Context(), r.process(nil))()
	<-came
}
