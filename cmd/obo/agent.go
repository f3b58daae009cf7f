package main

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/telemetry"
)

// agentFlags say which agent asks the token server.
type agentFlags struct {
	As               string `default:"orchestrator" placeholder:"NAME" help:"Which agent asks: its OBO_NAME_ID, _SECRET and _KEY are taken. orchestrator, researcher, resource-server or org2-agent in a dev environment."`
	ClientID         string `placeholder:"ID" help:"The client's id instead, such as acme.orchestrator."`
	ClientSecretFile string `placeholder:"FILE" help:"File with its client_secret, - for standard input."`
	ClientKey        string `placeholder:"FILE" help:"Private JWK to authenticate with (private_key_jwt)."`
}

// agent is a client of the token server. key is a file; it is used when there is no secret.
type agent struct {
	id     string
	secret telemetry.Secret
	key    string
}

// find finds who asks. What the flags say goes before the environment.
func (c agentFlags) find(a *app) (agent, error) {
	prefix := agentPrefix(c.As)
	out := agent{id: c.ClientID, key: c.ClientKey}
	if out.id == "" {
		out.id, _ = a.env(prefix + "_ID")
	}
	var err error
	switch {
	case c.ClientSecretFile != "" && c.ClientKey != "":
		return agent{}, explain.Misuse("the client cannot authenticate in two ways",
			"both --client-secret-file and --client-key are given", "give one")
	case c.ClientSecretFile != "":
		out.secret, err = remote.ReadSecret(c.ClientSecretFile, a.in)
	case c.ClientKey != "":
	case c.ClientID != "":
		return agent{}, explain.Misuse("the client cannot authenticate",
			"neither --client-secret-file nor --client-key is given", "give one")
	default:
		s, _ := a.env(prefix + "_SECRET")
		out.secret = telemetry.Secret(s)
		out.key, _ = a.env(prefix + "_KEY")
	}
	if err == nil && (out.id == "" || out.secret == "" && out.key == "") {
		err = explain.Misuse("the client is not known", prefix+"_ID with _SECRET or _KEY is not set",
			"point --env to the file that obo dev wrote, or give --client-id with --client-secret-file or --client-key")
	}
	return out, err
}

// agentPrefix is the name of an agent's variables: org2-agent is OBO_ORG2_AGENT.
func agentPrefix(name string) string {
	return "OBO_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// ask makes a call to the token server's gRPC door as the agent, with proofs of the key when there is one. f is called for
// each attempt, with the agent's credential in the context.
func (a *app) ask(ctx context.Context, who agent, prover *dpop.Prover, method string,
	f func(context.Context, *remote.STS, ...grpc.CallOption) error) error {
	sts, err := a.sts()
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	return remote.NewProofs(prover, a.STS, a.CAFile).Call(ctx, method, "", func(ctx context.Context, opts ...grpc.CallOption) error {
		if who.secret != "" {
			return f(remote.Basic(ctx, who.id, who.secret), sts, opts...)
		}
		assertion, err := a.assertion(who.key, who.id)
		if err != nil {
			return err
		}
		return f(remote.Bearer(ctx, assertion), sts, opts...)
	})
}

// assertion makes a fresh assertion of a client by its own key.
func (a *app) assertion(keyFile, id string) (telemetry.Secret, error) {
	if a.Issuer == "" {
		return "", missing("the token server's issuer", "--issuer", "OBO_ISSUER")
	}
	key, err := remote.ReadKey(keyFile)
	if err != nil {
		return "", err
	}
	return remote.Agent{ID: id, Key: key}.Assertion(a.Issuer, a.now())
}

// overHTTP is the agent as a client of the standard's own door.
func (a *app) overHTTP(ctx context.Context, who agent, prover *dpop.Prover) (*client.Client, error) {
	metadata, err := a.metadata(ctx)
	if err != nil {
		return nil, err
	}
	door, err := remote.HTTP(a.CAFile, 1)
	if err != nil {
		return nil, err
	}
	c := client.Config{Server: metadata, ClientID: who.id, HTTP: door, Now: a.now}
	if prover != nil {
		c.DPoP = prover
	}
	if who.secret != "" {
		c.Auth = client.Secret(who.secret.Reveal())
		return client.New(c)
	}
	key, err := remote.ReadKey(who.key)
	if err != nil {
		return nil, err
	}
	c.Auth = client.PrivateKey(key)
	return client.New(c)
}

// metadata reads the token server's metadata.
func (a *app) metadata(ctx context.Context) (client.Metadata, error) {
	if a.Issuer == "" {
		return client.Metadata{}, missing("the token server's issuer", "--issuer", "OBO_ISSUER")
	}
	door, err := remote.HTTP(a.CAFile, 1)
	if err != nil {
		return client.Metadata{}, err
	}
	m, err := client.Discover(ctx, a.Issuer, door)
	if err != nil {
		return client.Metadata{}, explain.Of("cannot read the token server's metadata", err)
	}
	return m, nil
}
