package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/delegation/dpop"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

// checkBound calls with a token that is bound to a key: once with each proof, and never without.
func checkBound(t *testing.T, s *sts, p *process, scopes delegation.Scopes) {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	must(t, err)
	prover, err := dpop.NewProver(key, time.Now)
	must(t, err)
	token := s.issuer.Token(t, func(c *delegation.Claims) {
		delegationtest.As("acme", "alice", "researcher")(c)
		c.Issuer, c.Audience, c.Scope = s.url, audience, scopes
		c.Actor.Issuer = s.url
		c.Confirmation = &delegation.Confirmation{JKT: prover.Thumbprint()}
	})
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("executor.test"))
	must(t, err)
	defer conn.Close()
	client := obov1.NewExecutorServiceClient(conn)
	list := func(ctx context.Context) error {
		_, err := client.ListTools(ctx, &obov1.ListToolsRequest{})
		return err
	}
	proof, err := prover.Proof("POST", "https://executor.test/obo.v1.ExecutorService/ListTools", "", token)
	must(t, err)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "DPoP "+token, "dpop", proof)
	if err := list(ctx); err != nil {
		t.Errorf("DP6: a bound token with its proof: %v", err)
	}
	if err := list(ctx); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "used before") {
		t.Errorf("DP3: the same proof again: %v", err)
	}
	if err := list(bearer(t.Context(), token)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("EX5: a bound token as a bearer token: %v", err)
	}
}

// checkWeb asks the HTTP door what it is.
func checkWeb(t *testing.T, p *process) {
	t.Helper()
	for path, want := range map[string]int{"/.well-known/oauth-protected-resource": http.StatusOK, "/": http.StatusUnauthorized} {
		response, err := http.Get("http://" + p.http + path)
		must(t, err)
		must(t, response.Body.Close())
		if response.StatusCode != want {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
}
