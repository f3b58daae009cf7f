package dev

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/onbehalf/obo/cmd/obo/internal/orgdir"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/sample"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/examples"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

// Connection is the id of alice's connection to the tracker, in either org, and ServiceConnection that of acme's service account.
const (
	Connection        = "alice-tracker"
	ServiceConnection = "reporting-tracker"
)

// writeOrgs puts the sample orgs, with this run's addresses, where they can be edited and applied again.
func (e *Env) writeOrgs() error {
	vars := map[string]string{"OBO_SAMPLE_ISSUER": e.Vars["issuer"]}
	for name, value := range e.Vars {
		vars[name] = value
	}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	return fs.WalkDir(examples.Orgs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := e.path("orgs", filepath.FromSlash(name))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		text, err := examples.Orgs.ReadFile(name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".yaml") {
			if text, err = orgdir.Expand(text, lookup); err != nil {
				return err
			}
		}
		return writeFile(target, text)
	})
}

// applyOrgs applies both sample orgs: providers to the executor, the rest to the token server.
func (e *Env) applyOrgs(ctx context.Context) error {
	if err := e.writeOrgs(); err != nil {
		return err
	}
	return e.asOperator(ctx, func(ctx context.Context, sts *remote.STS, executor *remote.Executor) error {
		for _, id := range []string{"acme", "globex"} {
			org, err := orgdir.Read(e.path("orgs", id), func(string) (string, bool) { return "", false })
			if err != nil {
				return err
			}
			if _, err := executor.Admin.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: id, Providers: org.Providers}); err != nil {
				return err
			}
			now, err := sts.Admin.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: id})
			if err != nil {
				return err
			}
			_, err = sts.Admin.ApplyOrg(ctx, &obov1.ApplyOrgRequest{OrgId: id, Document: org.Document, ExpectedVersion: now.GetVersion()})
			if err != nil {
				return err
			}
		}
		e.Vars["OBO_ORG"], e.Vars["OBO_ORG2"] = "acme", "globex"
		return nil
	})
}

// asOperator lets f talk to both servers with the operator's credential.
func (e *Env) asOperator(ctx context.Context, f func(context.Context, *remote.STS, *remote.Executor) error) error {
	token, err := e.secret("sts", adminFile)
	if err != nil {
		return err
	}
	sts, err := remote.NewSTS(e.Vars["OBO_STS_GRPC"], "")
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	executor, err := remote.NewExecutor(e.Vars["OBO_EXECUTOR_GRPC"], "")
	if err != nil {
		return err
	}
	defer executor.Conn.Close()
	return f(remote.Bearer(ctx, token), sts, executor)
}

// handOut makes a new client secret for each agent, stores the API keys of both alices, and lets people sign in to connect others.
func (e *Env) handOut(ctx context.Context) error {
	return e.asOperator(ctx, func(ctx context.Context, sts *remote.STS, executor *remote.Executor) error {
		for _, a := range agents() {
			secret, err := sts.Admin.RotateClientSecret(ctx, &obov1.RotateClientSecretRequest{OrgId: a.org, Agent: a.name})
			if err != nil {
				return err
			}
			e.Vars[a.prefix+"_ID"], e.Vars[a.prefix+"_SECRET"] = secret.GetClientId(), secret.GetClientSecret()
		}
		for _, org := range []string{"acme", "globex"} {
			for _, client := range []*obov1.PutClientRequest{
				{OrgId: org, Name: "issuer/sample", ClientId: sample.PagesClient, Settings: map[string]string{"issuer": e.Vars["issuer"]}},
				{OrgId: org, Name: "tracker", ClientId: sample.TrackerClient},
			} {
				if _, err := executor.Admin.PutClient(ctx, client); err != nil {
					return err
				}
			}
		}
		accounts, err := readAccounts(e.path(accountsFile))
		if err != nil {
			return err
		}
		keys := map[string]string{}
		for _, a := range accounts {
			keys[a.User] = a.Key.Reveal()
		}
		_, err = executor.Admin.PutConnection(ctx, &obov1.PutConnectionRequest{OrgId: "acme", Connection: ServiceConnection,
			Provider: "tracker", Pattern: "api_key", Subject: delegation.ServiceID("acme", "reporting"), Secret: keys[reporting]})
		if err != nil {
			return err
		}
		for _, p := range sample.People() {
			if p.Name != "alice" {
				continue // bob never connected his account
			}
			user, err := delegation.UserID(delegation.OrgID(p.Org), "sample", p.Subject)
			if err != nil {
				return err
			}
			if _, err := executor.Admin.PutConnection(ctx, &obov1.PutConnectionRequest{OrgId: p.Org, Connection: Connection,
				Provider: "tracker", Pattern: "api_key", Subject: user, Secret: keys[account(p)]}); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitReady waits until a token of alice's gets tools listed in both orgs: then keys, feed and policy are where they belong.
func (e *Env) awaitReady(ctx context.Context) error {
	sts, err := remote.NewSTS(e.Vars["OBO_STS_GRPC"], "")
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	executor, err := remote.NewExecutor(e.Vars["OBO_EXECUTOR_GRPC"], "")
	if err != nil {
		return err
	}
	defer executor.Conn.Close()
	for _, a := range agents() {
		if !a.first {
			continue
		}
		if err := e.awaitOrg(ctx, a.org, a.prefix, sts, executor); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) awaitOrg(ctx context.Context, org, prefix string, sts *remote.STS, executor *remote.Executor) error {
	user, err := mint(ctx, e.Vars["issuer"], e.path(mintFile), sample.MintRequest{User: "alice", Org: org})
	if err != nil {
		return err
	}
	secret := e.Vars[prefix+"_SECRET"]
	return retry(ctx, func(ctx context.Context) error {
		token, err := sts.Exchange.Exchange(remote.Basic(ctx, e.Vars[prefix+"_ID"], telemetry.Secret(secret)), &obov1.ExchangeRequest{
			SubjectToken: user.Reveal(), SubjectTokenType: remote.TypeIDToken, Resource: []string{e.Vars["OBO_EXECUTOR_AUDIENCE"]}})
		if err != nil {
			return err
		}
		tools, err := executor.Executor.ListTools(remote.Bearer(ctx, telemetry.Secret(token.GetAccessToken())), &obov1.ListToolsRequest{})
		if err != nil {
			return err
		}
		if len(tools.GetTools()) == 0 {
			return errors.New("the executor lists no tool yet for " + org)
		}
		return nil
	})
}

// writeFiles writes alice's token, what `obo dev token` needs, and last the env file: who sees it may start.
func (e *Env) writeFiles(ctx context.Context) error {
	e.Vars["OBO_USER_TOKEN_FILE"] = e.path("alice.token")
	e.Vars["OBO_LOGIN_ISSUER"], e.Vars["OBO_LOGIN_CLIENT_ID"] = e.Vars["issuer"], sample.AdminClient
	if err := e.writeUserToken(ctx); err != nil {
		return err
	}
	pids := map[string]int{}
	for _, p := range e.children {
		pids[p.name] = p.cmd.Process.Pid
	}
	data, err := json.Marshal(local{Issuer: e.Vars["issuer"], PIDs: pids})
	if err != nil {
		return err
	}
	if err := writeFile(e.path(localFile), data); err != nil {
		return err
	}
	return writeEnv(e.path(envFile), e.Vars)
}

func (e *Env) writeUserToken(ctx context.Context) error {
	token, err := mint(ctx, e.Vars["issuer"], e.path(mintFile), sample.MintRequest{User: "alice", Org: e.Vars["OBO_ORG"]})
	if err != nil {
		return err
	}
	return writeFile(e.Vars["OBO_USER_TOKEN_FILE"], []byte(token.Reveal()+"\n"))
}
