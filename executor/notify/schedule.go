package notify

import (
	"time"

	"github.com/onbehalf/obo/store"
)

// When a receiver that did not take an event is asked again.
const (
	firstWait = 5 * time.Second
	lastWait  = time.Hour
	giveUp    = 3 * 24 * time.Hour // after the first failure
)

// delivered is the webhook after an event that its receiver took.
func delivered(w store.Webhook, sequence uint64, now time.Time) store.Webhook {
	w.Delivered, w.Failures, w.Since, w.Next, w.Failure = sequence, 0, time.Time{}, now, ""
	return w
}

// failed is the webhook after one that it did not take. spread, from 0 to 1, keeps many that failed together from coming back
// together.
func failed(w store.Webhook, f *Failure, now time.Time, spread float64) store.Webhook {
	w.Failures++
	w.Failure = f.What
	if w.Since.IsZero() {
		w.Since = now
	}
	wait := min(firstWait<<min(w.Failures-1, 16), lastWait)
	wait = wait/2 + time.Duration(spread*float64(wait/2))
	w.Next = now.Add(max(wait, min(f.After, lastWait)))
	w.Paused = f.Final || now.Sub(w.Since) >= giveUp
	return w
}
