package exchange

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// TestThrottleIsBounded: TE15, whoever has very many addresses fills no memory.
func TestThrottleIsBounded(t *testing.T) {
	t.Parallel()
	s, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := range uint64(2 * maxGuessers) {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], n)
		g, ok := newGuesser(Credential{ClientID: "acme.researcher", RemoteIP: netip.AddrFrom16(a)})
		if !ok {
			t.Fatal("no guesser")
		}
		s.guessed(g, now)
	}
	s.guesses.CleanUp()
	s.addresses.CleanUp()
	if n, m := s.guesses.EstimatedSize(), s.addresses.EstimatedSize(); n > maxGuessers || m > maxGuessers || s.clients.EstimatedSize() != 1 {
		t.Errorf("%d guessers, %d addresses", n, m)
	}
	if _, ok := newGuesser(Credential{ClientID: "no client id"}); ok {
		t.Error("what is no client id is remembered")
	}
}
