package load

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

// RevocationRow is how long a revoked token goes on working at an executor that follows the feed.
type RevocationRow struct {
	Rounds   int           `json:"rounds"`
	FromSent Result        `json:"from_sent"`     // since the operator's request was sent
	FromDone Result        `json:"from_answered"` // since the operator's request was answered; 0 when the refusal came first
	Probe    time.Duration `json:"probe_p50_ns"`  // how long one look takes: nothing finer can be seen
}

// Revocation measures revoke-to-refusal: it gets a token, sees that it works, revokes it, and asks until it is refused.
func Revocation(ctx context.Context, s Setup, executor, org string, operator telemetry.Secret, rounds int) (RevocationRow, error) {
	target, err := Connect(s, s.STS)
	if err != nil {
		return RevocationRow{}, err
	}
	defer target.Close()
	e, err := remote.NewExecutor(executor, "")
	if err != nil {
		return RevocationRow{}, err
	}
	defer e.Conn.Close()
	r := revoker{target: target, admin: obov1.NewAdminServiceClient(target.conns[0]), executor: e.Executor, org: org, operator: operator}
	var sent, done tally
	for range rounds {
		if err := r.round(ctx, &sent, &done); err != nil {
			return RevocationRow{}, err
		}
	}
	return RevocationRow{Rounds: rounds, FromSent: sum([]tally{sent}, time.Second), FromDone: sum([]tally{done}, time.Second),
		Probe: r.probes.Quantile(.5)}, nil
}

type revoker struct {
	target   *Target
	admin    obov1.AdminServiceClient
	executor obov1.ExecutorServiceClient
	org      string
	operator telemetry.Secret
	probes   Histogram
}

func (r *revoker) round(ctx context.Context, sent, done *tally) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := r.target.Request(ctx, First)
	if err != nil {
		return err
	}
	token, err := r.target.Exchange(ctx, 0, req)
	if err != nil {
		return err
	}
	seen, err := render.ParseToken(token.GetAccessToken())
	if err != nil {
		return err
	}
	probe := remote.Bearer(ctx, telemetry.Secret(token.GetAccessToken()))
	if _, err := r.executor.ListTools(probe, &obov1.ListToolsRequest{}); err != nil {
		return fmt.Errorf("the token does not work before it is revoked: %w", err)
	}
	answered := make(chan time.Time, 1)
	failed := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := r.admin.Revoke(remote.Bearer(ctx, r.operator),
			&obov1.RevokeRequest{OrgId: r.org, Kind: "token", Id: seen.ID, Reason: "bench"})
		if err != nil {
			cancel()
		}
		answered <- time.Now()
		failed <- err
	}()
	refused, err := r.untilRefused(probe)
	if e := <-failed; e != nil {
		return e
	}
	if err != nil {
		return err
	}
	sent.record(refused.Sub(start), nil)
	done.record(max(refused.Sub(<-answered), 0), nil)
	return nil
}

// untilRefused asks until the executor refuses the token as such.
func (r *revoker) untilRefused(ctx context.Context) (time.Time, error) {
	for {
		begin := time.Now()
		_, err := r.executor.ListTools(ctx, &obov1.ListToolsRequest{})
		now := time.Now()
		r.probes.Record(now.Sub(begin))
		if status.Code(err) == codes.Unauthenticated {
			return now, nil
		}
		if err != nil {
			return now, err
		}
	}
}
