package load

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Plan says how to measure.
type Plan struct {
	Rounds   int
	Duration time.Duration // of one measurement
	Progress func(what string)
}

// Row is one line of the table: a kind over a door, and the floor measured in the same rounds.
type Row struct {
	Store string  `json:"store"`
	Door  string  `json:"door"` // grpc or http
	Kind  Kind    `json:"kind"`
	Loop  string  `json:"loop"` // closed, or open with a rate
	Asked float64 `json:"asked_rate,omitempty"`
	Result
	Floor      *Result `json:"floor,omitempty"`
	FloorShare float64 `json:"share_of_floor,omitempty"` // of the rate
}

// Compare measures one kind over one door in a closed loop, in alternation with the floor, and takes the round with the
// median rate of each: what else runs on the machine strikes both alike.
func Compare(ctx context.Context, s Setup, sts, floor *Target, door string, k Kind, p Plan) (Row, error) {
	r, err := sts.Request(ctx, k)
	if err != nil {
		return Row{}, fmt.Errorf("cannot prepare %s: %w", k, err)
	}
	nonce := ""
	if k == FirstDPoP {
		if nonce, err = sts.Nonce(ctx, r); err != nil {
			return Row{}, fmt.Errorf("cannot prepare %s: %w", k, err)
		}
	}
	var ours, floors []Result
	rate := 2000.0 // of a first guess; each round knows better
	for round := range p.Rounds + 1 {
		p.Progress(fmt.Sprintf("%s over %s, round %d of %d", k, door, round, p.Rounds))
		fresh, err := s.Prepare(k, nonce, int(rate*1.3*p.Duration.Seconds()))
		if err != nil {
			return Row{}, err
		}
		op := sts.GRPC(k, r, fresh)
		if door == "http" {
			if op, err = HTTP(ctx, s, r); err != nil {
				return Row{}, err
			}
		}
		f := metered(floor.PID, func() Result { return Closed(ctx, s.Workers, p.Duration, floor.GRPC(k, r, fresh.forFloor())) })
		o := metered(sts.PID, func() Result { return Closed(ctx, s.Workers, p.Duration, op) })
		if ctx.Err() != nil {
			return Row{}, ctx.Err()
		}
		rate = max(o.Rate, 500)
		if round == 0 {
			if o.Done == 0 {
				return Row{}, fmt.Errorf("no %s succeeded: %s", k, o.FirstErr)
			}
			continue // the first warms both up
		}
		ours, floors = append(ours, o), append(floors, f)
	}
	row := Row{Door: door, Kind: k, Loop: "closed", Result: median(ours)}
	f := median(floors)
	row.Floor, row.FloorShare = &f, row.Rate/f.Rate
	return row, nil
}

// median is the round with the median rate; the errors of all rounds are kept.
func median(rounds []Result) Result {
	sorted := slices.SortedFunc(slices.Values(rounds), func(a, b Result) int {
		switch {
		case a.Rate < b.Rate:
			return -1
		case a.Rate > b.Rate:
			return 1
		default:
			return 0
		}
	})
	m := sorted[len(sorted)/2]
	m.Errors, m.FirstErr = 0, ""
	for _, r := range rounds {
		m.Errors += r.Errors
		if m.FirstErr == "" {
			m.FirstErr = r.FirstErr
		}
	}
	return m
}

// OpenRow measures first hops at a fixed rate.
func OpenRow(ctx context.Context, s Setup, sts *Target, rate float64, p Plan) (Row, error) {
	r, err := sts.Request(ctx, First)
	if err != nil {
		return Row{}, err
	}
	p.Progress(fmt.Sprintf("first hops at %.0f a second", rate))
	// Enough workers that none who is due waits for a free one, unless the server is far behind.
	res := metered(sts.PID, func() Result { return Open(ctx, max(256, 4*s.Workers), p.Duration, rate, sts.GRPC(First, r, nil)) })
	return Row{Door: "grpc", Kind: First, Loop: "open", Asked: rate, Result: res}, ctx.Err()
}
