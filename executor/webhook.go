package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Webhook is where the org is told of its connection events, and the number of the newest of those. Its sealed secret is not
// for showing.
func (a *Admin) Webhook(ctx context.Context, org string) (w store.Webhook, newest uint64, err error) {
	id, err := orgID(org)
	if err != nil {
		return store.Webhook{}, 0, err
	}
	w, newest, err = a.Webhooks.Get(ctx, id)
	return w, newest, webhookError(err)
}

// PutWebhookRequest is a webhook with its secret.
type PutWebhookRequest struct {
	Org, URL        string
	Secret          telemetry.Secret // empty: one is made
	ExpectedVersion *int64           // that the caller saw, 0 when there was none; nil: whatever there is
	DryRun          bool             // check everything, and say what would be
}

// PutWebhookResult is how the webhook is then.
type PutWebhookResult struct {
	Webhook store.Webhook
	Newest  uint64           // the number of the org's newest event
	Secret  telemetry.Secret // that was made; empty when one was given, and of a dry run
	Changes []audit.Change
}

// PutWebhook says where the org is told of its connection events, and with what that is signed.
func (a Session) PutWebhook(ctx context.Context, req PutWebhookRequest) (PutWebhookResult, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return PutWebhookResult{}, err
	}
	p, err := a.Webhooks.Propose(ctx, id, req.URL, req.Secret)
	if err != nil {
		return PutWebhookResult{}, webhookError(err)
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != p.Before.Version {
		return PutWebhookResult{}, staleWebhook(p.Before, *req.ExpectedVersion)
	}
	out := PutWebhookResult{Webhook: p.After, Newest: p.Newest, Changes: webhookChanges(p.Before, p.After)}
	if req.DryRun {
		return out, nil
	}
	out.Secret = p.Secret
	return out, a.change(ctx, change{org: id, what: "put the webhook", changes: out.Changes}, func() error {
		return webhookError(a.Webhooks.Put(ctx, id, p))
	})
}

// DeleteWebhookRequest names an org.
type DeleteWebhookRequest struct {
	Org             string
	ExpectedVersion *int64 // that the caller saw; nil: whatever there is
	DryRun          bool   // check everything, and say what would go
}

// DeleteWebhook deletes the webhook and its secret, and answers with how it was.
func (a Session) DeleteWebhook(ctx context.Context, req DeleteWebhookRequest) (w store.Webhook, newest uint64, err error) {
	id, err := orgID(req.Org)
	if err != nil {
		return store.Webhook{}, 0, err
	}
	w, newest, err = a.Webhooks.Get(ctx, id)
	if err != nil {
		return store.Webhook{}, 0, webhookError(err)
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != w.Version {
		return store.Webhook{}, 0, staleWebhook(w, *req.ExpectedVersion)
	}
	if req.DryRun {
		return w, newest, nil
	}
	c := change{org: id, what: "delete the webhook", changes: webhookChanges(w, store.Webhook{})}
	return w, newest, a.change(ctx, c, func() error {
		err := a.Webhooks.Delete(ctx, id, w.Version)
		if errors.Is(err, store.ErrNotFound) {
			return store.ErrConflict // it was there just now
		}
		return err
	})
}

// TestWebhook posts a message now, and says why it was not taken, or nothing when it was. It changes nothing, and is on the
// trail all the same: it is a request that somebody had made.
func (a Session) TestWebhook(ctx context.Context, org string) (failure string, err error) {
	id, err := orgID(org)
	if err != nil {
		return "", err
	}
	w, _, err := a.Webhooks.Get(ctx, id)
	if err != nil {
		return "", webhookError(err)
	}
	err = a.change(ctx, change{org: id, what: "test the webhook"}, func() error {
		err := a.Webhooks.Test(ctx, id, w)
		if f, ok := errors.AsType[*notify.Failure](err); ok {
			failure = f.What
			return nil
		}
		return err
	})
	return failure, err
}

func webhookError(err error) error {
	switch {
	case errors.Is(err, notify.ErrURL):
		return &Error{Reason: InvalidRequest, Field: "url", Description: err.Error(), cause: err}
	case errors.Is(err, notify.ErrSecret):
		return &Error{Reason: InvalidRequest, Field: "secret", Description: err.Error(), cause: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Reason: NotFound, Description: "the org has no webhook; put one", cause: err}
	}
	return adminError(err)
}

// webhookChanges is a change of a webhook; version 0 stands for none. A new secret shows as a new version.
func webhookChanges(before, after store.Webhook) []audit.Change {
	describe := func(w store.Webhook) string {
		if w.Version == 0 {
			return ""
		}
		return text(struct {
			URL     string `json:"url"`
			Version int64  `json:"version"`
		}{w.URL, w.Version})
	}
	return []audit.Change{{Path: "webhook", Before: describe(before), After: describe(after)}}
}

// staleWebhook is the refusal of a change that was made of another version of the webhook than there is.
func staleWebhook(now store.Webhook, saw int64) *Error {
	if now.Version == 0 {
		return &Error{Reason: Conflict, Description: fmt.Sprintf(
			"the org has no webhook, and version %d was expected: expect version 0 to create it", saw)}
	}
	return &Error{Reason: Conflict, Description: fmt.Sprintf("the webhook has version %d, since %s, and not version %d, which the change was "+
		"made of: read it, see whether the change still holds, and send it with that version",
		now.Version, now.Updated.UTC().Format(time.RFC3339), saw)}
}
