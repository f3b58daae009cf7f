// Package load generates load and measures what comes of it.
package load

import (
	"math/bits"
	"time"
)

// subBits splits each power of two into 256 buckets: a value is known to within 0.4 %.
const subBits = 8

// Histogram counts durations in buckets that grow with their value, in constant memory: a long run costs no more than a
// short one. The greatest value is kept exactly.
type Histogram struct {
	counts [(64 - subBits) << subBits]uint32
	n      uint64
	max    time.Duration
}

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// upper is the greatest value of a bucket.
func upper(b int) time.Duration {
	if b < 1<<subBits {
		return time.Duration(b)
	}
	shift := b>>subBits - 1
	return time.Duration((uint64(b&(1<<subBits-1)+1<<subBits)+1)<<shift - 1)
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

// Add counts everything that another histogram has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count is how many were counted.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the greatest.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the duration that a share q (0 to 1) did not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q*float64(h.n-1)) + 1
	var seen uint64
	for b, c := range h.counts {
		seen += uint64(c)
		if seen >= rank {
			return min(upper(b), h.max)
		}
	}
	return h.max
}
