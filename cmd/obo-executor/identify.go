package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/identitygrpc"
)

// identifier asks the token servers of the feed whose an ID token is.
type identifier struct{ client identitygrpc.Client }

func newIdentifier(cfg config.Executor, live *settings) (identifier, error) {
	servers, err := cfg.Feed.Servers()
	if err != nil {
		return identifier{}, err
	}
	c := identitygrpc.Client{Token: live.followerToken}
	for _, s := range servers {
		c.Endpoints = append(c.Endpoints, identitygrpc.Endpoint{Address: s.Address, TLS: s.TLS})
	}
	return identifier{c}, nil
}

// Identify implements connection.Identifier.
func (i identifier) Identify(ctx context.Context, org delegation.OrgID, token, clientID, nonce string) (string, error) {
	subject, err := i.client.Identify(ctx, org, telemetry.Secret(token), clientID, nonce)
	if errors.Is(err, identitygrpc.ErrRefused) {
		return "", fmt.Errorf("%w: %w", connection.ErrNobody, err)
	}
	return subject, err
}
