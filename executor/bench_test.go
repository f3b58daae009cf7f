package executor_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/onbehalf/obo/executor"
)

// BenchmarkExecute is a call of a tool that reads, without a door: the token, which was seen before, Cedar, two durable records, the vault,
// and the provider on loopback. Its floor is that request alone, by a client of net/http. The parallel ones share fsyncs.
func BenchmarkExecute(b *testing.B) {
	r := newRig(b)
	token := r.token(b, "tracker:read")
	req := executor.Request{Tool: "tracker.list", Arguments: []byte(`{"project":"apollo"}`)}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ok":true}`) }))
	b.Cleanup(provider.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	bare := func() error {
		response, err := client.Get(provider.URL + "/v1/projects/apollo/issues")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	execute := func() error {
		answer, err := r.execute(b.Context(), token, req)
		if err == nil && answer.Error != nil {
			err = fmt.Errorf("%s: %s", answer.Error.Kind, answer.Error.Message)
		}
		return err
	}
	for _, parallel := range []int{1, 32} {
		var floor time.Duration
		for _, c := range []struct {
			name string
			call func() error
		}{{"floor", bare}, {"execute", execute}} {
			b.Run(fmt.Sprintf("%s-%d", c.name, parallel), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(parallel)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := c.call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
				each := b.Elapsed() / time.Duration(b.N)
				if c.name == "floor" {
					floor = each
				}
				if floor > 0 {
					b.ReportMetric(float64(each)/float64(floor), "x-floor")
				}
			})
		}
	}
}
