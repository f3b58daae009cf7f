package load

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestBucketsAreTightAndInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "d"))
		b := bucket(d)
		if d > upper(b) {
			t.Fatalf("%d is above its bucket, which ends at %d", d, upper(b))
		}
		if b > 0 && d <= upper(b-1) {
			t.Fatalf("%d belongs to an earlier bucket than %d", d, b)
		}
		if float64(upper(b)-d) > 0.004*float64(d)+1 {
			t.Fatalf("%d is known only as %d", d, upper(b))
		}
	})
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var a, b Histogram
	for i := 1; i <= 1000; i++ {
		h := &a
		if i%2 == 0 {
			h = &b
		}
		h.Record(time.Duration(i) * time.Millisecond)
	}
	a.Add(&b)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := a.Quantile(q); got < want*99/100 || got > want*101/100 {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	if a.Count() != 1000 || a.Max() != time.Second {
		t.Errorf("count %d, max %v", a.Count(), a.Max())
	}
}

func TestClosedLoopMeasuresWhatTheServerCanDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := Closed(t.Context(), 4, 10*time.Second, func(context.Context, int) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		if r.Rate < 390 || r.Rate > 401 || r.Errors != 0 || r.Max > 10*time.Millisecond+1 {
			t.Errorf("%+v", r)
		}
	})
}

// A server that stalls for a second is charged for everyone who was due meanwhile, though only one worker saw the stall.
func TestOpenLoopIsNotFooledByAStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		r := Open(t.Context(), 1, 10*time.Second, 100, func(context.Context, int) error {
			if calls++; calls == 500 {
				time.Sleep(time.Second)
			}
			return nil
		})
		if r.Done != 1000 || r.Max < time.Second {
			t.Errorf("%+v", r)
		}
		if r.P99 < 800*time.Millisecond {
			t.Errorf("p99 is %v: the hundred that waited were not counted as waiting", r.P99)
		}
	})
}

func TestErrorsAreCountedAndShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := Open(t.Context(), 2, time.Second, 10, func(context.Context, int) error { return errors.New("no") })
		if r.Errors != 10 || r.Done != 0 || r.FirstErr != "no" {
			t.Errorf("%+v", r)
		}
	})
}
