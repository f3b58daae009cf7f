package main

import (
	"fmt"
	"maps"
	"runtime"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/load"
	"github.com/onbehalf/obo/telemetry"
)

func cpus() int { return runtime.GOMAXPROCS(0) }

func secretOf(s string) telemetry.Secret { return telemetry.Secret(s) }

// adopt makes an environment's variables the settings, whatever was set before.
func (a *app) adopt(vars map[string]string) {
	own := maps.Clone(vars)
	before := a.env
	a.env = func(name string) (string, bool) {
		if v, ok := own[name]; ok {
			return v, true
		}
		return before(name)
	}
	a.Issuer, a.STS, a.Executor = own["OBO_ISSUER"], own["OBO_STS_GRPC"], own["OBO_EXECUTOR_GRPC"]
	a.AdminTokenFile, a.ExecutorToken, a.CAFile = own["OBO_ADMIN_TOKEN_FILE"], "", ""
	a.DefaultOrg = own["OBO_ORG"]
}

func (a *app) showReport(r report) {
	a.Printf("%d CPUs shared by client and servers, %d callers. Closed loop, median of rounds in alternation with the floor;\n",
		r.CPUs, r.Workers)
	a.Printf("the floor is a bare gRPC server that takes the same message and answers with one ES256 signature.\n\n")
	rows := [][]string{{"STORE", "DOOR", "WHAT", "LOOP", "RATE/S", "P50", "P99", "P99.9", "MAX", "ERRORS", "SERVER CPU",
		"FLOOR/S", "FLOOR CPU", "SHARE"}}
	for _, row := range r.Rows {
		loop, floor := row.Loop, []string{"", "", ""}
		if row.Floor != nil {
			floor = []string{fmt.Sprintf("%.0f", row.Floor.Rate), cpuOf(*row.Floor), fmt.Sprintf("%.2f", row.FloorShare)}
		}
		if row.Asked > 0 {
			loop = fmt.Sprintf("open %.0f/s", row.Asked)
		}
		rows = append(rows, append([]string{row.Store, row.Door, string(row.Kind), loop}, append(numbers(row.Result), floor...)...))
	}
	a.Table(rows)
	for _, row := range r.Rows {
		if row.FirstErr != "" {
			a.Printf("%s %s %s: first error: %s\n", row.Store, row.Door, row.Kind, row.FirstErr)
		}
	}
	for _, i := range r.Idle {
		a.Printf("\nidle obo-sts on %s: %.1f MiB resident\n", i.Store, i.MiB)
	}
	a.showRevocation(r)
}

func numbers(r load.Result) []string {
	return []string{fmt.Sprintf("%.0f", r.Rate), short(r.P50), short(r.P99), short(r.P999), short(r.Max),
		fmt.Sprint(r.Errors), cpuOf(r)}
}

// cpuOf is the server's processor time for one request.
func cpuOf(r load.Result) string {
	if r.CPU == 0 {
		return "-"
	}
	return short(r.CPU)
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

func (a *app) showRevocation(r report) {
	if len(r.Revocation) == 0 {
		return
	}
	a.Printf("\nRevoke to refusal at an executor that follows the feed:\n\n")
	rows := [][]string{{"STORE", "SINCE THE OPERATOR'S REQUEST WAS", "ROUNDS", "P50", "P99", "MAX", "ONE LOOK"}}
	for _, v := range r.Revocation {
		for _, s := range []struct {
			name string
			r    load.Result
		}{{"sent", v.FromSent}, {"answered", v.FromDone}} {
			rows = append(rows, []string{v.Store, s.name, fmt.Sprint(v.Rounds), short(s.r.P50), short(s.r.P99),
				short(s.r.Max), short(v.Probe)})
		}
	}
	a.Table(rows)
}

func (a *app) showCrowd(r report) {
	a.Printf("\nRevoke to refusal at followers, since the operator's request was sent:\n\n")
	rows := [][]string{{"STORE", "REPLICAS", "FOLLOWERS", "ROUNDS", "P50", "P99", "MAX", "ALL REFUSE, P50", "ONE LOOK AT ALL"}}
	for _, f := range r.Followers {
		rows = append(rows, []string{f.Store, fmt.Sprint(f.Replicas), fmt.Sprint(f.Followers), fmt.Sprint(f.Rounds),
			short(f.P50), short(f.P99),
			short(f.Max), short(f.Last), "<= " + short(f.Look)})
	}
	a.Table(rows)
	a.Printf("\nA set of %d live entries: %.0f MiB more resident memory, %s a check (five actors, a lineage of five).\n",
		r.Set.Entries, r.Set.MiB, r.Set.Check)
}
