//go:build slow

package e2e_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stall is a TCP proxy that fails as networks do: it holds what it carries back, to deliver it later, or swallows it.
type stall struct {
	addr          string
	hold, swallow atomic.Bool
	closed        atomic.Bool
	target        string
	mu            sync.Mutex
	open          []net.Conn
	group         sync.WaitGroup
}

func newStall(t *testing.T, target string) *stall {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stall{addr: l.Addr().String(), target: target}
	s.group.Go(func() { s.serve(l) })
	t.Cleanup(func() {
		s.closed.Store(true)
		l.Close()
		s.mu.Lock()
		for _, c := range s.open {
			c.Close()
		}
		s.mu.Unlock()
		s.group.Wait()
	})
	return s
}

func (s *stall) heal() {
	s.hold.Store(false)
	s.swallow.Store(false)
}

func (s *stall) serve(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", s.target)
		if err != nil {
			in.Close()
			continue
		}
		s.mu.Lock()
		s.open = append(s.open, in, out)
		s.mu.Unlock()
		s.group.Go(func() { s.carry(out, in) })
		s.group.Go(func() { s.carry(in, out) })
	}
}

func (s *stall) carry(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for s.hold.Load() && !s.closed.Load() {
			time.Sleep(time.Millisecond)
		}
		if err != nil {
			return
		}
		if s.swallow.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
