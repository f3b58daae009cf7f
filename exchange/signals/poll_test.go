package signals_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/exchange/signals"
)

// TestReply: SS4b. A reply is read strictly, and never more of it than was asked for.
func TestReply(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range signals.MaxEvents + 1 {
		many[fmt.Sprintf("%03d", i)] = "set"
	}
	crowd, err := json.Marshal(object{"sets": many})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body string
		sets int // -1: it is refused
		more bool
	}{
		"SS4b nothing":                {`{"sets":{}}`, 0, false},
		"SS4b one":                    {`{"sets":{"a":"x"},"moreAvailable":false}`, 1, false},
		"SS4b more":                   {`{"sets":{"a":"x","b":"y"},"moreAvailable":true}`, 2, true},
		"SS4b a member of the future": {`{"sets":{},"another":1}`, 0, false},
		"SS4b more than asked for":    {string(crowd), signals.MaxEvents, true},
		"SS4b no sets":                {`{}`, -1, false},
		"SS4b null":                   {`{"sets":null}`, -1, false},
		"SS4b a list":                 {`{"sets":[]}`, -1, false},
		"SS4b an object as a SET":     {`{"sets":{"a":{}}}`, -1, false},
		"SS4b the same jti twice":     {`{"sets":{"a":"x","a":"x"}}`, -1, false},
		"SS4b another case":           {`{"SETS":{"a":"x"}}`, -1, false},
		"SS4b something behind it":    {`{"sets":{}}{}`, -1, false},
		"SS4b no text":                {"{\"sets\":{\"a\":\"\xff\"}}", -1, false},
		"SS4b too long":               {`{"sets":{}}` + strings.Repeat(" ", signals.MaxReply), -1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := signals.ParseReply([]byte(c.body))
			if (err != nil) != (c.sets < 0) || err == nil && (len(r.Sets) != c.sets || r.More != c.more) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// said is what a request says of SETs.
type said struct {
	MaxEvents         int      `json:"maxEvents"`
	ReturnImmediately *bool    `json:"returnImmediately"`
	Ack               []string `json:"ack"`
	Errs              map[string]struct {
		Code        string `json:"err"`
		Description string `json:"description"`
	} `json:"setErrs"`
}

func request(t interface{ Fatal(...any) }, p signals.Polled) said {
	data, err := p.Request()
	if err != nil {
		t.Fatal(err)
	}
	var out said
	if err := json.Unmarshal(data, &out); err != nil || out.ReturnImmediately == nil {
		t.Fatal(string(data), err)
	}
	return out
}

// TestPolledRequest: SS4b. What a request says, and what it says again when the one before was not answered.
func TestPolledRequest(t *testing.T) {
	t.Parallel()
	first := request(t, signals.Polled{})
	if first.MaxEvents != signals.MaxEvents || *first.ReturnImmediately || first.Ack != nil || first.Errs != nil {
		t.Errorf("%+v", first)
	}
	p, wait := signals.Polled{}.Answered([]signals.Answer{
		{"a", nil}, {"b", &signals.Refusal{Code: signals.InvalidKey, Description: "no key"}}, {"c", errors.New("away")}, {"\u2028\"", nil},
	}, 0)
	if wait <= 0 || !p.Failing() {
		t.Errorf("waits %s though the store is away", wait)
	}
	for range 3 {
		got := request(t, p)
		if !slices.Equal(got.Ack, []string{"a", "\u2028\""}) || len(got.Errs) != 1 || got.Errs["b"].Code != "invalid_key" || got.Errs["b"].Description != "no key" {
			t.Errorf("%+v", got)
		}
		p, wait = p.Failed(0)
	}
	if wait <= time.Second {
		t.Errorf("waits %s after three failures", wait)
	}
	if _, wait = p.Failed(time.Hour); wait > 10*time.Minute {
		t.Errorf("a transmitter can put it off for %s", wait)
	}
	for range 100 {
		p, wait = p.Failed(0)
	}
	if wait > 5*time.Minute || wait <= 0 {
		t.Errorf("waits %s after many", wait)
	}
	if p, wait = p.Answered(nil, 0); p.Failing() || wait <= 0 || len(request(t, p).Ack) != 0 {
		t.Errorf("waits %s after nothing came at once: %+v", wait, request(t, p))
	}
	if _, wait = p.Answered(nil, time.Minute); wait != 0 {
		t.Errorf("waits %s after it was held for a minute", wait)
	}
}

// TestPollLaw: SS4b. Whatever gets lost or fails on the way, a transmitter that delivers until it is answered ends with every SET
// acknowledged or refused, as it was taken, and none was acknowledged before.
func TestPollLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		queue, taken := map[string]bool{}, map[string]bool{}
		for i := range rapid.IntRange(0, 20).Draw(t, "sets") {
			queue[fmt.Sprint(i)] = rapid.Bool().Draw(t, "good")
		}
		all := maps.Clone(queue)
		acked, refused := map[string]bool{}, map[string]bool{}
		var p signals.Polled
		for round := 0; len(queue) > 0; round++ {
			if round > 200 {
				t.Fatalf("%d SETs are never answered", len(queue))
			}
			trouble := round < 60
			if trouble && rapid.IntRange(0, 3).Draw(t, "lost request") == 0 {
				p, _ = p.Failed(0)
				continue
			}
			req := request(t, p)
			for _, id := range req.Ack {
				if !taken[id] {
					t.Fatalf("%s is acknowledged and was not taken", id)
				}
				acked[id] = true
				delete(queue, id)
			}
			for id := range req.Errs {
				refused[id] = true
				delete(queue, id)
			}
			if trouble && rapid.IntRange(0, 3).Draw(t, "lost reply") == 0 {
				p, _ = p.Failed(0)
				continue
			}
			var answers []signals.Answer
			for _, id := range slices.Sorted(maps.Keys(queue))[:min(len(queue), 3)] {
				a := signals.Answer{ID: id}
				switch {
				case trouble && rapid.IntRange(0, 3).Draw(t, "away") == 0:
					a.Err = errors.New("away")
				case !all[id]:
					a.Err = &signals.Refusal{Code: signals.InvalidRequest}
				default:
					taken[id] = true
				}
				answers = append(answers, a)
			}
			p, _ = p.Answered(answers, 0)
		}
		for id, good := range all {
			if acked[id] != good || refused[id] == good {
				t.Fatalf("%s: acknowledged %v, refused %v", id, acked[id], refused[id])
			}
		}
	})
}

// FuzzReply: SS4b. Nothing that a transmitter answers breaks the reader, and what it takes can be answered.
func FuzzReply(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := signals.ParseReply(body)
		if err != nil {
			return
		}
		if len(r.Sets) > signals.MaxEvents {
			t.Fatalf("%d SETs", len(r.Sets))
		}
		var answers []signals.Answer
		for _, set := range r.Sets {
			err := set.Check()
			if _, ok := errors.AsType[*signals.Refusal](err); err != nil && !ok {
				t.Fatalf("not a refusal: %v", err)
			}
			answers = append(answers, signals.Answer{ID: set.ID, Err: err})
		}
		p, wait := signals.Polled{}.Answered(answers, 0)
		req := request(t, p)
		if len(req.Ack)+len(req.Errs) != len(r.Sets) || (wait == 0) != (len(r.Sets) > 0) {
			t.Fatalf("%d SETs, %+v, wait %s", len(r.Sets), req, wait)
		}
	})
}
