package main

import (
	"log/slog"
	"time"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/vault"
)

// buildWebhooks makes who keeps the orgs' webhooks, and who delivers to them.
func (p *parts) buildWebhooks(cfg config.Executor, safe *vault.Vault, log *slog.Logger) (*notify.Webhooks, error) {
	out := egress.Config{Timeout: notify.Timeout, MaxResponse: notify.MaxAnswer}
	if cfg.Egress.AllowLoopback {
		out.AllowPrivate = egress.Loopback()
	}
	send := notify.Sender{Vault: safe, HTTP: egress.NewClient(out)}
	var err error
	p.notifier, err = notify.New(notify.Config{
		Due: p.db.DueWebhooks, Org: func(id delegation.OrgID) notify.Store { return p.db.org(id) }, Send: send, Now: time.Now, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return notify.NewWebhooks(notify.WebhooksConfig{
		Org: func(id delegation.OrgID) notify.Puts { return p.db.org(id) }, Vault: safe, Send: send,
		AllowLoopback: cfg.Egress.AllowLoopback, Now: time.Now,
	})
}
