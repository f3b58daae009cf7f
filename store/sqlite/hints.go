package sqlite

import (
	"context"
	"sync"
)

// hints wakes those who follow the changes of this handle.
type hints struct {
	mu        sync.Mutex
	listeners map[chan struct{}]struct{}
}

func (h *hints) listen(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[chan struct{}]struct{}{}
	}
	h.listeners[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, ch)
	})
	return ch
}

// send never waits: a listener that has a hint it did not look at needs no second one.
func (h *hints) send() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.listeners {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
