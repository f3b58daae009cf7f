// Command subagent is an example of an agent that others hand work to. It proves itself to whoever wants to hand over, gets a
// token that only it can use, narrows that to the task at hand, and calls the executor.
//
//	env $(cat /tmp/obo-dev/env) go run ./examples/subagent -listen 127.0.0.1:8700
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/delegation/dpop"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve; the URL is printed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen string) error {
	tokens, err := connect(ctx)
	if err != nil {
		return err
	}
	executor, err := grpc.NewClient(os.Getenv("OBO_EXECUTOR_GRPC"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // loopback; TLS everywhere else
		grpc.WithUnaryInterceptor(tokens.Unary))
	if err != nil {
		return err
	}
	defer executor.Close()
	a := agent{tokens: tokens, executor: obov1.NewExecutorServiceClient(executor)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /actor-token", a.actorToken)
	mux.HandleFunc("POST /task", a.task)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// connect makes the client of the token server. The agent's own key is what the org registered; the DPoP key is made anew for
// each process and never leaves it: a token that is stolen on the way is of no use without it.
func connect(ctx context.Context) (*client.Client, error) {
	data, err := os.ReadFile(os.Getenv("OBO_RESEARCHER_KEY"))
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
	return client.New(client.Config{Server: server, ClientID: os.Getenv("OBO_RESEARCHER_ID"),
		Auth: client.PrivateKey(own), DPoP: prover})
}

type agent struct {
	tokens   *client.Client
	executor obov1.ExecutorServiceClient
}

// actorToken gives an orchestrator what it needs to hand over: a fresh statement of who will act, and with which key.
func (a agent) actorToken(w http.ResponseWriter, _ *http.Request) {
	token, err := a.tokens.ActorToken()
	answer(w, map[string]string{"actor_token": token}, err)
}

// task does some work with the token that was handed over.
func (a agent) task(w http.ResponseWriter, r *http.Request) {
	var task struct {
		Token   string `json:"token"`
		Project string `json:"project"`
		Number  int    `json:"number"`
		Dollars int    `json:"dollars"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&task); err != nil {
		http.Error(w, "a task is JSON", http.StatusBadRequest)
		return
	}
	args, err := json.Marshal(map[string]any{"project": task.Project, "number": task.Number, "dollars": task.Dollars})
	if err != nil {
		answer(w, nil, err)
		return
	}
	// Of what was handed over, this task needs one scope. Whatever goes wrong in it, nothing else can be done.
	narrow := client.Request{Subject: client.Static(task.Token), SubjectType: client.TypeAccessToken,
		Resource: []string{os.Getenv("OBO_EXECUTOR_AUDIENCE")}, Scope: "tracker:bounties:award"}
	resp, err := a.executor.Execute(r.Context(), &obov1.ExecuteRequest{Tool: "tracker.award_bounty", Arguments: string(args)},
		grpc.PerRPCCredentials(a.tokens.PerRPC(narrow)))
	if err == nil && resp.GetError() != nil {
		err = fmt.Errorf("the tool answered: %s", resp.GetError().GetMessage())
	}
	answer(w, map[string]string{"result": resp.GetResult().GetData()}, err)
}

func answer(w http.ResponseWriter, v map[string]string, err error) {
	if err != nil {
		v = map[string]string{"error": err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}
