// Command orchestrator is an example of an agent that acts for a user and hands part of the work to a subagent. It exchanges the
// user's ID token, looks for work at the executor, and hands over with less than it has itself.
//
//	env $(cat /tmp/obo-dev/env) go run ./examples/orchestrator -subagent http://127.0.0.1:8700
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/delegation/dpop"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

func main() {
	subagent := flag.String("subagent", "http://127.0.0.1:8700", "URL of the subagent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := run(ctx, *subagent); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, subagent string) error {
	tokens, err := connect(ctx)
	if err != nil {
		return err
	}
	// What the user's login is exchanged for. The request is all there is to keep: tokens are made of it when they are needed.
	login := client.Request{
		Subject:              client.SourceFunc(userToken),
		SubjectType:          client.TypeIDToken,
		Resource:             []string{os.Getenv("OBO_EXECUTOR_AUDIENCE")},
		Scope:                "tracker:issues:read tracker:bounties:award",
		AuthorizationDetails: `[{"type": "tracker_bounty", "project": "apollo", "dollars": 100}]`,
	}
	number, err := findWork(ctx, tokens, login)
	if err != nil {
		return err
	}
	fmt.Printf("found issue %d to be worth a bounty\n", number)

	// The subagent gets a token of its own: of the same user and transaction, with less. Its key is in its actor token.
	handover := client.Request{
		Subject:              tokens.AccessToken(login),
		SubjectType:          client.TypeAccessToken,
		Actor:                client.SourceFunc(func(ctx context.Context) (string, error) { return actorToken(ctx, subagent) }),
		Resource:             login.Resource,
		Scope:                "tracker:bounties:award",
		AuthorizationDetails: `[{"type": "tracker_bounty", "project": "apollo", "dollars": 20}]`,
	}
	token, err := tokens.Token(ctx, handover)
	var refused *client.Error
	if errors.As(err, &refused) {
		return fmt.Errorf("the handover was refused (%s); an auditor finds it under %s", refused.Code, refused.ActionID)
	}
	if err != nil {
		return err
	}
	fmt.Printf("handed over, a %s token with scope %s\n", token.Type, token.Scope)
	for _, dollars := range []int{20, 21} {
		result, err := ask(ctx, subagent+"/task",
			map[string]any{"token": token.AccessToken, "project": "apollo", "number": number, "dollars": dollars})
		if err != nil {
			return err
		}
		if result["error"] != "" {
			fmt.Printf("the subagent could not award %d dollars: %s\n", dollars, result["error"])
			continue
		}
		fmt.Printf("the subagent awarded %d dollars: %s\n", dollars, result["result"])
	}
	return nil
}

// connect makes the client of the token server.
func connect(ctx context.Context) (*client.Client, error) {
	data, err := os.ReadFile(os.Getenv("OBO_ORCHESTRATOR_KEY"))
	if err != nil {
		return nil, err
	}
	own, err := jose.ParsePrivateJWK(data)
	if err != nil {
		return nil, err
	}
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		return nil, err
	}
	prover, err := dpop.NewProver(key, time.Now)
	if err != nil {
		return nil, err
	}
	server, err := client.Discover(ctx, os.Getenv("OBO_ISSUER"), nil)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Server: server, ClientID: os.Getenv("OBO_ORCHESTRATOR_ID"),
		Auth: client.PrivateKey(own), DPoP: prover})
}

// userToken is the ID token of the user's login. It is renewed by whoever signed the user in.
func userToken(context.Context) (string, error) {
	data, err := os.ReadFile(os.Getenv("OBO_USER_TOKEN_FILE"))
	return strings.TrimSpace(string(data)), err
}

// findWork lists the open issues as the user, and picks one.
func findWork(ctx context.Context, tokens *client.Client, login client.Request) (int, error) {
	conn, err := grpc.NewClient(os.Getenv("OBO_EXECUTOR_GRPC"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // loopback; TLS everywhere else
		grpc.WithPerRPCCredentials(tokens.PerRPC(login)), grpc.WithUnaryInterceptor(tokens.Unary))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	resp, err := obov1.NewExecutorServiceClient(conn).Execute(ctx,
		&obov1.ExecuteRequest{Tool: "tracker.list_issues", Arguments: `{"project": "apollo"}`})
	if err != nil {
		return 0, err
	}
	if resp.GetError() != nil {
		return 0, fmt.Errorf("the tool answered: %s", resp.GetError().GetMessage())
	}
	var issues []struct{ Number int }
	if err := json.Unmarshal([]byte(resp.GetResult().GetData()), &issues); err != nil {
		return 0, err
	}
	if len(issues) == 0 {
		return 0, errors.New("there is no open issue")
	}
	return issues[0].Number, nil
}

// actorToken asks the subagent for a fresh proof of who it is.
func actorToken(ctx context.Context, subagent string) (string, error) {
	answer, err := ask(ctx, subagent+"/actor-token", nil)
	return answer["actor_token"], err
}

func ask(ctx context.Context, url string, question any) (map[string]string, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer map[string]string
	return answer, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer)
}
