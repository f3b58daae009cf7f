package connection

import (
	"strings"
	"time"

	"github.com/onbehalf/obo/store"
)

// Outcome is what came of making a credential ready to be spent.
type Outcome struct {
	Result     Result
	Evidence   string        // what showed it, for people: ours, or the provider's code
	RetryAfter time.Duration // 0: not known
}

// Result names an outcome.
type Result string

// The results. With the first three there is a credential to spend.
const (
	ResultFresh          Result = "fresh"           // it was good
	ResultRefreshed      Result = "refreshed"       // it was due, and is new
	ResultLostRace       Result = "lost_race"       // somebody else was faster, and it is new
	ResultTransient      Result = "transient"       // not now; nothing is lost
	ResultStepUp         Result = "step_up"         // the provider wants the user again
	ResultRevoked        Result = "revoked"         // the grant is no more
	ResultExpired        Result = "expired"         // the grant has lived its time
	ResultOperatorConfig Result = "operator_config" // the org's client or the record is not in order
	ResultUncertain      Result = "uncertain"       // a single-use token was sent, and no answer came: nobody knows
)

// Good reports whether there is a credential to spend.
func (o Outcome) Good() bool {
	return o.Result == ResultFresh || o.Result == ResultRefreshed || o.Result == ResultLostRace
}

// Failure is what a caller hears of an outcome that is not good.
func (o Outcome) Failure() Failure {
	kinds := map[Result]Kind{
		ResultTransient: Unavailable, ResultStepUp: StepUp, ResultRevoked: Revoked, ResultExpired: Expired,
		ResultOperatorConfig: OperatorConfig, ResultUncertain: Uncertain,
	}
	return Failure{Kind: kinds[o.Result], RetryAfter: o.RetryAfter}
}

// outcomeOf is the outcome of a token endpoint's refusal.
func outcomeOf(r *Refusal) Outcome {
	results := map[Kind]Result{
		Revoked: ResultRevoked, Expired: ResultExpired, StepUp: ResultStepUp, OperatorConfig: ResultOperatorConfig,
		RateLimited: ResultTransient, Unavailable: ResultTransient,
	}
	return Outcome{Result: results[r.Kind], Evidence: r.Evidence(), RetryAfter: r.RetryAfter}
}

// reason is how a status says which outcome it comes from; resultOf reads it.
func (o Outcome) reason() string { return cut(string(o.Result)+": "+o.Evidence, 300) }

// ended is what a connection's status says of it, without asking anybody; false when it may be tried.
func ended(c store.Connection) (Outcome, bool) {
	result, evidence, _ := strings.Cut(c.StatusReason, ": ")
	switch {
	case c.Status == StatusExpired:
		return Outcome{Result: ResultExpired, Evidence: c.StatusReason}, true
	case c.Status == StatusNeedsConsent:
		return Outcome{Result: ResultStepUp, Evidence: evidence}, true
	case c.Status == StatusError && Result(result) == ResultUncertain:
		return Outcome{Result: ResultUncertain, Evidence: evidence}, true
	case !spendable(c):
		return Outcome{Result: ResultRevoked, Evidence: c.StatusReason}, true
	}
	return Outcome{}, false
}

const (
	// slack is how long before its end an access token is not spent any more: the call takes time, and clocks differ.
	slack = 10 * time.Second
	// ahead is how long before its end an access token that is in use is refreshed.
	ahead = 5 * time.Minute
	// keepAlive is how often a grant is refreshed that nobody uses, at least.
	keepAlive = 7 * 24 * time.Hour
)

// usable reports whether a connection's access token may be spent at a time.
func usable(c store.Connection, now time.Time) bool {
	return Holds(c) && (c.Expires.IsZero() || now.Before(c.Expires.Add(-slack)))
}

// renewAt is from when on an access token that is used is refreshed, before it ends.
func renewAt(now, expires time.Time, refresh bool) time.Time {
	if expires.IsZero() || !refresh {
		return time.Time{}
	}
	return expires.Add(-max(slack, min(ahead, expires.Sub(now)/4)))
}

// soon reports whether an access token should be refreshed while it is still good.
func soon(c store.Connection, now time.Time) bool { return !c.Renew.IsZero() && now.After(c.Renew) }

// due is when a grant is refreshed though nobody spends it: well before a provider forgets it.
func due(now time.Time, g *grantRules, refresh bool, refreshExpires time.Time) time.Time {
	if !refresh {
		return time.Time{}
	}
	at := now.Add(keepAlive)
	if g.idle > 0 && g.idle/2 < keepAlive {
		at = now.Add(g.idle / 2)
	}
	if !refreshExpires.IsZero() && g.rotation != RotationNever {
		if half := now.Add(refreshExpires.Sub(now) / 2); half.Before(at) {
			at = half
		}
	}
	return at
}

// move is what a refresher does with what it has found.
type move int

const (
	moveUse   move = iota // it is good already
	moveSpend             // spend the refresh token
	moveStop              // there is nothing to spend: the outcome says why
)

// next decides what to do with a connection whose refresh the caller holds the right to. refused is the version whose access token
// the provider did not take, 0 for none; token is the SHA-256 of the refresh token, nil when there is none.
//
// A token that a holder before was about to spend, and said no more, is spent again only where the provider's record says that it
// does no harm: where it is not rotated, where the old one stays good, or within the time for which it may be used again.
func next(c store.Connection, g *grantRules, lease store.Refreshing, token []byte, refused int64, now time.Time) (move, Outcome) {
	if usable(c, now) && c.Version != refused {
		return moveUse, Outcome{Result: ResultLostRace}
	}
	if out, over := ended(c); over {
		return moveStop, out
	}
	switch {
	case token == nil && c.Version == refused:
		return moveStop, Outcome{Result: ResultRevoked, Evidence: "the provider refuses the access token, and gave no refresh token"}
	case token == nil:
		return moveStop, Outcome{Result: ResultExpired, Evidence: "the access token has ended, and the provider gave no refresh token"}
	case string(lease.Spent) != string(token): // settled, or another token
		return moveSpend, Outcome{}
	case g.rotation == RotationNever || g.rotation == RotationKept:
		return moveSpend, Outcome{}
	case g.reuse > 0 && now.Before(lease.SpentAt.Add(g.reuse-slack)):
		return moveSpend, Outcome{}
	}
	return moveStop, Outcome{Result: ResultUncertain, Evidence: "the refresh token was sent at " +
		lease.SpentAt.UTC().Format(time.RFC3339) + " and no answer was kept; the provider takes it once"}
}
