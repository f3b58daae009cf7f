package store

import "time"

// Webhook is where an org wants to be told of its connection events, and how far that has come.
type Webhook struct {
	URL     string
	Version int64 // 1 for the first; compare-and-swap
	Sealed  []byte
	Created time.Time
	Updated time.Time

	Delivered uint64    // the number of the last event that its receiver has taken
	Failures  int       // since then
	Since     time.Time // of the first of them; zero: none
	Next      time.Time // not before then is it tried again
	Failure   string    // why it failed last
	Paused    bool      // until it is put again

	Fence int64     // larger than that of every holder before
	Until time.Time // another may deliver after that
}
