package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// The bounds of one attempt. They are for Sender.HTTP.
const (
	Timeout   = 10 * time.Second
	MaxAnswer = 64 << 10 // bytes, of which none matter
)

// Lender lends the secrets of webhooks. vault.Vault does.
type Lender interface {
	Use(ctx context.Context, org delegation.OrgID, conn store.Connection, f func(vault.Credential) error) error
}

// Sender posts messages. Both fields are required.
type Sender struct {
	Vault Lender
	HTTP  *http.Client // an egress client that follows no redirects
}

// errSecret: the secret is destroyed, or does not open.
var errSecret = errors.New("notify: the webhook's secret does not open")

// Failure is why a receiver did not take a message. The text is ours: nothing of what it answered is in it.
type Failure struct {
	What  string
	Final bool          // it does not want any more
	After time.Duration // that it asked for before the next attempt
	cause error
}

// Error implements error.
func (f *Failure) Error() string { return f.What }

// Unwrap is the cause, for the log.
func (f *Failure) Unwrap() error { return f.cause }

// send signs a message and posts it: nil when the receiver has taken it, a *Failure when not. Anything else is about us.
func (s Sender) send(ctx context.Context, org delegation.OrgID, w store.Webhook, m message, now time.Time) error {
	signature, err := s.sign(ctx, org, w, m, now)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(m.body))
	if err != nil {
		return &Failure{What: "its URL is none: put the webhook again"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "obo-executor")
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	res, err := s.HTTP.Do(req)
	if err != nil {
		return unreached(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, MaxAnswer)) // so that the connection can be used again
	return judged(res)
}

// sign makes the signature (Standard Webhooks: HMAC-SHA256 of id, timestamp and body) while the secret is lent.
func (s Sender) sign(
	ctx context.Context, org delegation.OrgID, w store.Webhook, m message, now time.Time,
) (signature string, err error) {
	sealed := store.Connection{ID: vault.ForWebhook, Version: w.Version, Sealed: w.Sealed}
	err = s.Vault.Use(ctx, org, sealed, func(c vault.Credential) error {
		signer, err := standardwebhooks.NewWebhookRaw(c.Reveal())
		if err == nil {
			signature, err = signer.Sign(m.id, now, m.body)
		}
		return err
	})
	if errors.Is(err, vault.ErrDestroyed) || errors.Is(err, vault.ErrOpen) {
		return "", fmt.Errorf("%w: %w", errSecret, err)
	}
	return signature, err
}

// judged is what a status means. Any 2xx has taken it; 410 wants no more of it.
func judged(res *http.Response) error {
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusGone:
		return &Failure{What: "it answers with HTTP status 410: it does not want events any more", Final: true}
	default:
		f := &Failure{What: fmt.Sprintf("it answers with HTTP status %d", code)}
		if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16); err == nil {
			f.After = time.Duration(seconds) * time.Second
		}
		return f
	}
}

// unreached says why there was no answer. The URL, which net/http puts into its errors, may hold what only the receiver should
// read.
func unreached(err error) *Failure {
	if in, ok := errors.AsType[*url.Error](err); ok {
		err = in.Err
	}
	f := &Failure{What: "it cannot be reached: the log has the cause", cause: err}
	timeout, timed := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, egress.ErrRedirect):
		f.What = "it answers with a redirect, which is not followed: put the webhook with the URL that it leads to"
	case errors.Is(err, egress.ErrAddress):
		f.What = "its host has an address that is not public"
	case errors.Is(err, egress.ErrPlaintext):
		f.What = "its URL is not https"
	case errors.Is(err, egress.ErrTooLarge):
		f.What = "its answer is too large"
	case errors.Is(err, context.DeadlineExceeded), timed && timeout.Timeout():
		f.What = "it did not answer within " + Timeout.String()
	}
	return f
}
