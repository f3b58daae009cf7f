package signin

import (
	"context"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
)

// callbackPath is that of the redirect URI.
const callbackPath = "/callback"

// The pages say nothing of what came, nor of who signed in.
const (
	donePage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>obo</title>
<p>obo has the answer. Close this window: the terminal says how it went.</p>`
	oncePage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>obo</title>
<p>This attempt has had its answer already. Run obo again for another.</p>`
)

// Listener takes one answer of a browser, on loopback (RFC 8252 §7.3).
type Listener struct {
	redirect string // redirect_uri
	host     string
	server   *http.Server
	taken    atomic.Bool
	answers  chan url.Values // holds one
}

// Listen takes a port of 127.0.0.1; 0: any that is free.
func Listen(ctx context.Context, port int) (*Listener, error) {
	// An address, not a name: a name can be made to mean another machine (RFC 8252 §8.3).
	at, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return nil, explain.Failure("cannot wait for the browser", err, "choose another --redirect-port, or leave it out")
	}
	l := &Listener{host: at.Addr().String(), answers: make(chan url.Values, 1)}
	l.redirect = "http://" + l.host + callbackPath
	l.server = &http.Server{
		Handler: l, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		MaxHeaderBytes: 32 << 10,
	}
	go func() { _ = l.server.Serve(at) }()
	return l, nil
}

// RedirectURI is where the browser has to come back to.
func (l *Listener) RedirectURI() string { return l.redirect }

// Close lets the page be read to its end.
func (l *Listener) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
}

// ServeHTTP takes the first answer and no other. What it says is judged by who waits.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	switch {
	case r.Host != l.host: // a name that was rebound to loopback
		w.WriteHeader(http.StatusMisdirectedRequest)
	case r.URL.Path != callbackPath: // a browser asks for its icon
		w.WriteHeader(http.StatusNotFound)
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !l.taken.CompareAndSwap(false, true):
		w.WriteHeader(http.StatusGone)
		_, _ = w.Write([]byte(oncePage))
	default:
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			q = nil
		}
		_, _ = w.Write([]byte(donePage))
		l.answers <- q
	}
}

// Wait returns the answer, or ctx's error.
func (l *Listener) Wait(ctx context.Context) (url.Values, error) {
	select {
	case q := <-l.answers:
		return q, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// expectation is what an answer must be held against.
type expectation struct {
	state, issuer string
	named         bool // the provider says that its answers have iss
}

// read judges an authorization response and returns the code. That it is the answer to our request comes first: of any other,
// nothing is believed, not even that it is an error.
func (e expectation) read(q url.Values) (code string, err error) {
	const again = "run it again, and use the window that it opens"
	for _, name := range []string{"state", "iss", "code", "error", "error_description"} {
		if len(q[name]) > 1 {
			return "", refused("the browser came back with two values of "+name, again)
		}
	}
	iss := q.Get("iss")
	switch {
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(e.state)) != 1:
		return "", refused("the browser came back with the answer to another sign-in (state)", again)
	case iss != e.issuer && (iss != "" || e.named): // RFC 9207 §2.4: mix-up
		return "", refused("the answer is another provider's, or says not whose it is (iss)",
			"check that --oidc-issuer is the provider where you signed in")
	case q.Get("error") == "access_denied":
		return "", refused("you, or the provider, said no"+because(q),
			"run it again to choose anew; who may use the client is up to the provider")
	case q.Get("error") != "":
		return "", refused("it answered "+render.Clean(q.Get("error"))+because(q),
			"check --client-id and --scope, and the client's registration at the provider")
	case q.Get("code") == "":
		return "", refused("it answered without a code", again)
	}
	return q.Get("code"), nil
}

// because is what the provider says of an error.
func because(q url.Values) string {
	text := render.Clean(q.Get("error_description"))
	if text == "" {
		return ""
	}
	return ": " + text[:min(len(text), 200)]
}
