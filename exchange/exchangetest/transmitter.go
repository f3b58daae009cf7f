package exchangetest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Transmitter keeps SETs until they are fetched and answered, as RFC 8936 says: what is not answered is delivered again, and a
// request that finds nothing is held.
type Transmitter struct {
	Bearer string        // that it wants
	Hold   time.Duration // of a request that finds nothing
	Most   int           // SETs in a reply, whatever is asked for; 0: as many as are asked for
	Deaf   int           // of so many requests to come the answers get lost
	// Break, when it is not nil, may answer in the transmitter's place: it reports whether it did. The answers in the request were
	// heard.
	Break func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	sets    map[string]string
	acked   map[string]int
	refused map[string]string
	polls   int
	now     int // requests that are being answered
	most    int // of them at once
	wake    chan struct{}
	problem string // with a request
}

// NewTransmitter makes one with nothing in it.
func NewTransmitter(bearer string) *Transmitter {
	return &Transmitter{Bearer: bearer, Hold: time.Minute, sets: map[string]string{}, acked: map[string]int{},
		refused: map[string]string{}, wake: make(chan struct{})}
}

// Queue adds SETs under their jti.
func (x *Transmitter) Queue(t testing.TB, sets ...string) {
	t.Helper()
	for _, set := range sets {
		var c struct {
			ID string `json:"jti"`
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(set, ".")[1])
		must(t, err)
		must(t, json.Unmarshal(payload, &c))
		x.QueueAs(c.ID, set)
	}
}

// QueueAs adds a SET under any id.
func (x *Transmitter) QueueAs(id, set string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sets[id] = set
	close(x.wake)
	x.wake = make(chan struct{})
}

// State is how many SETs wait, how often each was acknowledged, and with which code each was refused.
func (x *Transmitter) State() (waiting int, acked map[string]int, refused map[string]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	acked, refused = map[string]int{}, map[string]string{}
	for id, n := range x.acked {
		acked[id] = n
	}
	for id, code := range x.refused {
		refused[id] = code
	}
	return len(x.sets), acked, refused
}

// Polls is how many requests came, the most at once, and what was wrong with one.
func (x *Transmitter) Polls() (all, most int, problem string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.polls, x.most, x.problem
}

type pollRequest struct {
	MaxEvents         *int     `json:"maxEvents"`
	ReturnImmediately *bool    `json:"returnImmediately"`
	Ack               []string `json:"ack"`
	Errs              map[string]struct {
		Code        string `json:"err"`
		Description string `json:"description"`
	} `json:"setErrs"`
}

// ServeHTTP is the poll endpoint.
func (x *Transmitter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req pollRequest
	body := json.NewDecoder(r.Body)
	body.DisallowUnknownFields()
	err := body.Decode(&req)
	x.mu.Lock()
	x.polls++
	x.now++
	x.most = max(x.most, x.now)
	defer func() {
		x.mu.Lock()
		x.now--
		x.mu.Unlock()
	}()
	switch {
	case r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || err != nil || req.MaxEvents == nil ||
		req.ReturnImmediately == nil || *req.ReturnImmediately:
		x.problem = "not a poll request"
	case slices.ContainsFunc(req.Ack, func(id string) bool { _, both := req.Errs[id]; return both }):
		x.problem = "acknowledged and refused at once"
	}
	if r.Header.Get("Authorization") != "Bearer "+x.Bearer {
		x.mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	for _, id := range req.Ack {
		x.acked[id]++
		delete(x.sets, id)
	}
	for id, e := range req.Errs {
		x.refused[id] = e.Code
		delete(x.sets, id)
	}
	x.mu.Unlock()
	if x.Break != nil && x.Break(w, r) {
		return
	}
	x.wait(r)
	x.reply(w, *req.MaxEvents)
}

// wait holds a request until there is something, or for long enough.
func (x *Transmitter) wait(r *http.Request) {
	held := time.NewTimer(x.Hold)
	defer held.Stop()
	for {
		x.mu.Lock()
		waiting, wake := len(x.sets), x.wake
		x.mu.Unlock()
		if waiting > 0 {
			return
		}
		select {
		case <-wake:
		case <-held.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (x *Transmitter) reply(w http.ResponseWriter, most int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.Most > 0 {
		most = min(most, x.Most)
	}
	out := map[string]string{}
	for id, set := range x.sets { // in no order
		if len(out) < most {
			out[id] = set
		}
	}
	more := len(out) < len(x.sets)
	if x.Deaf > 0 {
		x.Deaf--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"sets": out, "moreAvailable": more})
}
