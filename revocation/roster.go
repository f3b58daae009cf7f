package revocation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/store"
)

// RosterStore is where replicas tell each other who follows them.
type RosterStore interface {
	// PutReplica replaces what a replica says, and forgets those last seen before forget.
	PutReplica(ctx context.Context, r store.Replica, forget time.Time) error
	// Replicas lists what all of them last said, in the order of their start.
	Replicas(ctx context.Context) ([]store.Replica, error)
	// DeleteReplica forgets one that ends.
	DeleteReplica(ctx context.Context, id string) error
}

// RosterConfig makes a Roster.
type RosterConfig struct {
	Store RosterStore      // required
	Hub   *Hub             // required; this replica's
	Name  string           // of this replica, for people; often the host's
	Now   func() time.Time // default time.Now
	Log   *slog.Logger     // required
}

const (
	// ReportEvery is how often a replica says that it is there when nothing changes.
	ReportEvery = 5 * time.Second
	// ForgetAfter is how long a replica that ended without a word is listed: its followers, whose bound is a minute at
	// most, have moved by then, or refuse.
	ForgetAfter = 90 * time.Second
	// maxFollowers bounds what one replica keeps.
	maxFollowers = 10_000
	// A report waits for more to come, and then for its turn: so many writes at most, however many followers there are.
	gather   = 30 * time.Millisecond
	reportAt = 250 * time.Millisecond
	// perFollower makes reports rarer where they are large.
	perFollower = 250 * time.Microsecond
	// slack is for what differs between clocks, and for a heartbeat on its way.
	slack = 2 * time.Second
	// askEvery is how often other replicas' reports are read while somebody waits for them.
	askEvery = 50 * time.Millisecond
)

// ErrFull says that a replica has all the followers that it can take.
var ErrFull = errors.New("revocation: too many followers")

// Roster knows who follows this replica and what each has confirmed, and shares it with the other replicas.
//
// Its promise: when a change is in force at a replica, by its own report, then whoever is not in that report connected
// after the replica knew the change, and so gets it before it answers anything.
type Roster struct {
	c       RosterConfig
	self    Replica
	dirty   chan struct{} // holds a value when there is something to report
	mu      sync.Mutex
	members map[string]*Member // by instance
	news    chan struct{}      // closed when something was confirmed, or somebody left
}

// Replica is one process of the server and who follows it.
type Replica struct {
	ID        string           `json:"id"`
	Name      string           `json:"name"`
	Since     time.Time        `json:"since"`
	Seen      time.Time        `json:"seen"`
	Sequence  uint64           `json:"sequence"`        // in force at the replica itself
	Ended     bool             `json:"ended,omitempty"` // it has said goodbye: it answers nothing any more
	Followers []FollowerReport `json:"followers"`
}

// FollowerReport is what a replica knows of one follower.
type FollowerReport struct {
	Name       string        `json:"name"`
	Instance   string        `json:"instance"`
	Address    string        `json:"address"`
	Since      time.Time     `json:"since"`
	Sequence   uint64        `json:"sequence"` // confirmed; 0 before it was current for the first time
	Lag        time.Duration `json:"lag"`      // from when the replica knew that change to its confirmation
	Heard      time.Time     `json:"heard"`    // when it last confirmed anything
	StaleAfter time.Duration `json:"stale_after"`
	Stopped    int           `json:"stopped"` // calls that ran, since it is connected
	Lost       time.Time     `json:"lost,omitzero"`
	Refuses    time.Time     `json:"refuses,omitzero"` // when it was lost: from when on it refuses everything
}

// NewRoster returns the roster of a replica that starts now. It reports nothing before Run.
func NewRoster(c RosterConfig) (*Roster, error) {
	if c.Store == nil || c.Hub == nil || c.Log == nil {
		return nil, errors.New("revocation: a roster needs a store, a hub and a log")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Roster{
		c: c, self: Replica{ID: rand.Text(), Name: NameOf(c.Name), Since: c.Now()}, dirty: make(chan struct{}, 1),
		members: map[string]*Member{}, news: make(chan struct{}),
	}, nil
}

// Member is a follower's place in the roster while its stream lives.
type Member struct {
	roster *Roster
	report FollowerReport // guarded by roster.mu
	beat   time.Time      // when the last heartbeat was sent to it
}

// Join takes a follower in. Another stream of the same process is the one before, which is lost.
func (r *Roster) Join(h Hello, address string) (*Member, error) {
	now := r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if _, known := r.members[h.Instance]; !known && len(r.members) >= maxFollowers {
		return nil, ErrFull
	}
	m := &Member{roster: r, beat: now, report: FollowerReport{
		Name: h.Name, Instance: h.Instance, Address: address, Since: now, Heard: now, StaleAfter: h.StaleAfter}}
	r.members[h.Instance] = m
	r.touched()
	return m, nil
}

// Beat says that a heartbeat is about to be sent: until its bound has passed from now, the follower may answer.
func (m *Member) Beat() {
	m.roster.mu.Lock()
	defer m.roster.mu.Unlock()
	m.beat = m.roster.c.Now()
}

// Confirm says what the follower has in force.
func (m *Member) Confirm(c Confirmation) {
	r := m.roster
	now := r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	m.report.Heard = now
	m.report.Stopped += c.Stopped
	if c.Sequence <= m.report.Sequence {
		return
	}
	m.report.Sequence = c.Sequence
	m.report.Lag = 0
	if known := r.c.Hub.known(c.Sequence); !known.Before(m.report.Since) {
		m.report.Lag = now.Sub(known)
	}
	r.touched()
}

// Heard returns when the follower last confirmed anything.
func (m *Member) Heard() time.Time {
	m.roster.mu.Lock()
	defer m.roster.mu.Unlock()
	return m.report.Heard
}

// Leave says that the stream has ended. The follower is listed until it refuses by its own bound.
func (m *Member) Leave() {
	r := m.roster
	now := r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	m.report.Lost, m.report.Refuses = now, m.beat.Add(m.report.StaleAfter+slack)
	r.touched()
}

// forget drops those that were lost and refuse by now. r.mu is held.
func (r *Roster) forget(now time.Time) {
	maps.DeleteFunc(r.members, func(_ string, m *Member) bool { return m.report.refuses(now) })
}

// refuses reports whether the follower is lost and has not heard for longer than its bound.
func (f FollowerReport) refuses(now time.Time) bool { return !f.Lost.IsZero() && now.After(f.Refuses) }

// touched says that there is news. r.mu is held.
func (r *Roster) touched() {
	close(r.news)
	r.news = make(chan struct{})
	r.mark()
}

// mark says that there is something to report.
func (r *Roster) mark() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// Run reports to the other replicas until ctx ends, and then says goodbye.
func (r *Roster) Run(ctx context.Context) error {
	select {
	case <-r.c.Hub.Ready():
	case <-ctx.Done():
		return nil
	}
	sub := r.c.Hub.Subscribe()
	tick := time.NewTicker(ReportEvery)
	defer tick.Stop()
	healthy := true
	for {
		select {
		case <-r.dirty: // what it stands for is in this report
		default:
		}
		size, err := r.report(ctx)
		if ctx.Err() != nil {
			break
		}
		if (err == nil) != healthy {
			healthy = err == nil
			r.c.Log.WarnContext(ctx, "report to the other replicas", "healthy", healthy, "error", err)
		}
		turn := time.After(max(reportAt, time.Duration(size)*perFollower))
		if err != nil {
			r.mark()
			turn = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-sub.More():
			if _, ok := sub.Take(); !ok {
				sub = r.c.Hub.Subscribe()
			}
		case <-r.dirty:
		}
		for _, wait := range []<-chan time.Time{turn, time.After(gather)} {
			select {
			case <-ctx.Done():
			case <-wait:
			}
		}
	}
	return r.goodbye(context.WithoutCancel(ctx))
}

// goodbye says that this replica has ended. Who followed it is still listed: until it is connected elsewhere or refuses, it
// may answer.
func (r *Roster) goodbye(ctx context.Context) error {
	var err error
	r.self.Ended = true
	if len(r.mine(r.c.Now()).Followers) > 0 {
		_, err = r.report(ctx)
	} else {
		_, err = ask(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.c.Store.DeleteReplica(ctx, r.self.ID)
		})
	}
	if err != nil {
		r.c.Log.WarnContext(ctx, "cannot say goodbye to the other replicas; they list this one for a while", "error", err)
	}
	return nil
}

// report writes what this replica knows.
func (r *Roster) report(ctx context.Context) (size int, err error) {
	now := r.c.Now()
	mine := r.mine(now)
	document, err := json.Marshal(mine)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return len(mine.Followers), r.c.Store.PutReplica(ctx, store.Replica{
		ID: mine.ID, Since: mine.Since, Seen: mine.Seen, Document: document}, now.Add(-ForgetAfter))
}

// mine is what this replica knows. The sequence is read first: who joins after that joins a replica that knows it.
func (r *Roster) mine(now time.Time) Replica {
	out := r.self
	out.Seen, out.Sequence = now, r.c.Hub.Head()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	out.Followers = make([]FollowerReport, 0, len(r.members))
	for _, m := range r.members {
		out.Followers = append(out.Followers, m.report)
	}
	slices.SortFunc(out.Followers, func(a, b FollowerReport) int {
		return strings.Compare(a.Name+" "+a.Instance, b.Name+" "+b.Instance)
	})
	return out
}

// Head returns the newest change that this replica knows.
func (r *Roster) Head() uint64 { return r.c.Hub.Head() }

// List returns all replicas: this one as it is, the others as they last said.
func (r *Roster) List(ctx context.Context) ([]Replica, error) {
	rows, err := ask(ctx, r.c.Store.Replicas)
	if err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	now := r.c.Now()
	out := make([]Replica, 0, len(rows)+1)
	for _, row := range rows {
		var other Replica
		switch err := json.Unmarshal(row.Document, &other); {
		case row.ID == r.self.ID || now.Sub(row.Seen) > ForgetAfter:
		case err != nil:
			return nil, fmt.Errorf("revocation: what replica %s says cannot be read: %w", row.ID, err)
		default:
			out = append(out, other)
		}
	}
	out = append(out, r.mine(now))
	slices.SortFunc(out, func(a, b Replica) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return here(out, now), nil
}

// here drops the followers that were lost and refuse by now or are connected elsewhere, and the replicas that ended and have
// no others.
func here(replicas []Replica, now time.Time) []Replica {
	connected := map[string]time.Time{}
	for _, r := range replicas {
		for _, f := range r.Followers {
			if f.Lost.IsZero() && f.Since.After(connected[f.Instance]) {
				connected[f.Instance] = f.Since
			}
		}
	}
	for i := range replicas {
		replicas[i].Followers = slices.DeleteFunc(replicas[i].Followers, func(f FollowerReport) bool {
			since, elsewhere := connected[f.Instance]
			return f.refuses(now) || elsewhere && (!f.Lost.IsZero() || f.Since.Before(since))
		})
	}
	return slices.DeleteFunc(replicas, func(r Replica) bool { return r.Ended && len(r.Followers) == 0 })
}

// Confirmed reports whether a change is in force at a replica and at all who follow it. A replica that is not heard of any
// more confirms nothing new.
func (r Replica) Confirmed(sequence uint64) bool {
	return (r.Ended || r.Sequence >= sequence) && !slices.ContainsFunc(r.Followers, func(f FollowerReport) bool { return f.Sequence < sequence })
}

// Await waits until a change is in force everywhere, or ctx ends, and returns the state at the end.
func (r *Roster) Await(ctx context.Context, sequence uint64) (replicas []Replica, complete bool, err error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		r.mu.Lock()
		news := r.news
		r.mu.Unlock()
		replicas, err = r.List(context.WithoutCancel(ctx))
		if err != nil {
			return nil, false, err
		}
		if !slices.ContainsFunc(replicas, func(r Replica) bool { return !r.Confirmed(sequence) }) {
			return replicas, true, nil
		}
		select {
		case <-ctx.Done():
			return replicas, false, nil

		case <-tick.C:
		case <-news:
			select { // what is confirmed by many at once is looked at once
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
}
