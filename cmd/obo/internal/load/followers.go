package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationfeed"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Crowd says whom to let follow, and what to revoke.
type Crowd struct {
	STS      []string // gRPC addresses of the replicas; followers are spread over them, and the first is told to revoke
	FeedFile string   // file with the follower credential
	Org      string
	Operator telemetry.Secret
	Rounds   int // entries, one after the other
}

// CrowdRow is how long a revoked token goes on working at so many followers.
type CrowdRow struct {
	Followers int           `json:"followers"`
	Replicas  int           `json:"replicas"`
	Rounds    int           `json:"rounds"`
	P50       time.Duration `json:"p50_ns"` // of each follower's each entry, since the operator's request was sent
	P99       time.Duration `json:"p99_ns"`
	Max       time.Duration `json:"max_ns"`
	Last      time.Duration `json:"last_follower_p50_ns"` // until all of them refuse
	Look      time.Duration `json:"look_max_ns"`          // one look at all followers takes no longer: nothing finer can be seen
}

// Follow measures revoke-to-refusal at n followers of this process, each with a stream and a set of its own.
func (c Crowd) Follow(ctx context.Context, n int) (CrowdRow, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	feeds := make([]*delegationfeed.Feed, n)
	defer func() {
		cancel()
		for _, f := range feeds {
			if f != nil {
				_ = f.Close()
			}
		}
	}()
	for i := range feeds {
		var err error
		feeds[i], err = delegationfeed.Follow(ctx, delegationfeed.Config{
			Addresses: []string{c.STS[i%len(c.STS)]}, TokenFile: c.FeedFile, Name: fmt.Sprintf("bench-%d", i), StaleAfter: time.Minute,
			Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return CrowdRow{}, err
		}
	}
	for _, f := range feeds {
		select {
		case <-f.Ready():
		case <-ctx.Done():
			return CrowdRow{}, errors.New("the followers were not ready within two minutes")
		}
	}
	conn, err := remote.Dial(c.STS[0], "")
	if err != nil {
		return CrowdRow{}, err
	}
	defer conn.Close()
	row := CrowdRow{Followers: n, Replicas: len(c.STS), Rounds: c.Rounds}
	var all, last Histogram
	for range c.Rounds {
		if err := c.round(ctx, conn, feeds, &all, &last, &row.Look); err != nil {
			return CrowdRow{}, err
		}
	}
	row.P50, row.P99, row.Max, row.Last = all.Quantile(.5), all.Quantile(.99), all.Max(), last.Quantile(.5)
	return row, nil
}

// round revokes one token and looks at the followers until all of them refuse it.
func (c Crowd) round(
	ctx context.Context, conn *grpc.ClientConn, feeds []*delegationfeed.Feed, all, last *Histogram, longest *time.Duration,
) error {
	token := &delegation.Claims{OrgID: delegation.OrgID(c.Org), ID: rand.Text(), IssuedAt: time.Now()}
	answer := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := obov1.NewAdminServiceClient(conn).Revoke(remote.Bearer(ctx, c.Operator),
			&obov1.RevokeRequest{OrgId: c.Org, Kind: string(revocation.Token), Id: token.ID, Reason: "bench"})
		answer <- err
	}()
	waiting := append([]*delegationfeed.Feed(nil), feeds...)
	for len(waiting) > 0 && ctx.Err() == nil {
		begin := time.Now()
		left := waiting[:0]
		for _, f := range waiting {
			switch err := f.Check(token, time.Now()); {
			case errors.Is(err, delegation.ErrRevoked):
				all.Record(time.Since(start))
			case err != nil:
				return err
			default:
				left = append(left, f)
			}
		}
		waiting = left
		*longest = max(*longest, time.Since(begin))
		time.Sleep(50 * time.Microsecond) // the followers share these cores
	}
	last.Record(time.Since(start))
	return errors.Join(<-answer, ctx.Err())
}

// SetRow is what a set of so many live entries costs.
type SetRow struct {
	Entries int           `json:"entries"`
	MiB     float64       `json:"rss_growth_mib"`
	Check   time.Duration `json:"check_ns"` // of a token with five actors and a lineage of five that nothing refuses
}

// Set measures a set of n live entries in this process.
func Set(n int) (SetRow, error) {
	runtime.GC()
	before, err := RSS(os.Getpid())
	if err != nil {
		return SetRow{}, err
	}
	now := time.Now()
	set := revocation.NewSet(time.Hour)
	set.Heard(now)
	for i := range n {
		set.Add(store.Revocation{Org: "acme", Kind: string(revocation.Token), ID: fmt.Sprintf("01234567-89ab-7cde-8f01-%012d", i),
			Before: now, Until: now.Add(time.Hour)})
	}
	runtime.GC()
	after, err := RSS(os.Getpid())
	if err != nil {
		return SetRow{}, err
	}
	token := &delegation.Claims{OrgID: "acme", ID: rand.Text(), Transaction: rand.Text(), Subject: "user:acme/okta|00u1", SessionID: "s",
		ClientID: "acme.researcher", IssuedAt: now}
	for i := range 5 {
		token.Lineage = append(token.Lineage, rand.Text())
		token.Actor = &delegation.Actor{Subject: fmt.Sprintf("agent:acme/agent-%d", i), Act: token.Actor}
	}
	const checks = 200_000
	start := time.Now()
	for range checks {
		if err := set.Check(token, now); err != nil {
			return SetRow{}, err
		}
	}
	return SetRow{Entries: n, MiB: after - before, Check: time.Since(start) / checks}, nil
}
