package main

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/telemetry"
)

// Global are the flags that every command has.
type Global struct {
	Output  string        `short:"o" enum:"text,json" default:"text" help:"text or json." group:"General"`
	EnvFile string        `name:"env" placeholder:"FILE" help:"File of NAME=value lines with OBO_* settings (OBO_ENV)." group:"General"`
	Timeout time.Duration `default:"30s" help:"How long one request may take." group:"General"`

	Issuer         string `from:"OBO_ISSUER" placeholder:"URL" help:"Issuer of the token server (OBO_ISSUER)." group:"Servers"`
	STS            string `name:"sts" from:"OBO_STS_GRPC" placeholder:"HOST:PORT" help:"Token server, gRPC (OBO_STS_GRPC)." group:"Servers"`
	Executor       string `from:"OBO_EXECUTOR_GRPC" placeholder:"HOST:PORT" help:"Executor, gRPC (OBO_EXECUTOR_GRPC)." group:"Servers"`
	CAFile         string `name:"ca-file" from:"OBO_CA_FILE" placeholder:"FILE" help:"Certificates to trust, PEM (OBO_CA_FILE). Default: the system's; loopback needs none." group:"Servers"`
	AdminTokenFile string `from:"OBO_ADMIN_TOKEN_FILE" placeholder:"FILE" help:"File with an administrator's token, or the operator's credential (OBO_ADMIN_TOKEN_FILE). Default: that of obo login." group:"Servers"`
	ExecutorToken  string `name:"executor-admin-token-file" from:"OBO_EXECUTOR_ADMIN_TOKEN_FILE" placeholder:"FILE" help:"The executor's, when it differs (OBO_EXECUTOR_ADMIN_TOKEN_FILE)." group:"Servers"`
	DefaultOrg     string `name:"org" from:"OBO_ORG" placeholder:"ORG" help:"The org (OBO_ORG)." group:"Servers"`
}

// sts dials the token server.
func (a *app) sts() (*remote.STS, error) {
	if a.STS == "" {
		return nil, missing("the token server's address", "--sts", "OBO_STS_GRPC")
	}
	return remote.NewSTS(a.STS, a.CAFile)
}

// executor dials the executor.
func (a *app) executor() (*remote.Executor, error) {
	if a.Executor == "" {
		return nil, missing("the executor's address", "--executor", "OBO_EXECUTOR_GRPC")
	}
	return remote.NewExecutor(a.Executor, a.CAFile)
}

// org is the org to work on.
func (a *app) org() (string, error) {
	if a.DefaultOrg == "" {
		return "", missing("the org", "--org", "OBO_ORG")
	}
	return a.DefaultOrg, nil
}

func missing(what, flag, env string) error {
	return explain.Misuse(what+" is not known", "neither "+flag+" nor "+env+" is set",
		"set one of them, or point --env to the file that obo dev wrote")
}

// operatorToken is the administrator's token, or the operator's credential, for the token server: what was named, else that of
// obo login.
func (a *app) operatorToken() (telemetry.Secret, error) {
	if a.AdminTokenFile != "" {
		return remote.ReadSecret(a.AdminTokenFile, nil)
	}
	s, err := a.session()
	return s.Token, err
}

// executorToken is the operator's credential for the executor.
func (a *app) executorToken() (telemetry.Secret, error) {
	if a.ExecutorToken == "" {
		return a.operatorToken()
	}
	return remote.ReadSecret(a.ExecutorToken, nil)
}

// asOperator runs one request against the token server's admin API.
func (a *app) asOperator(ctx context.Context, what string, f func(context.Context, *remote.STS) error) error {
	sts, err := a.sts()
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	token, err := a.operatorToken()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(remote.Bearer(ctx, token), a.Timeout)
	defer cancel()
	if err := f(ctx, sts); err != nil {
		return explain.Of(what, err)
	}
	return nil
}

// onServer is asOperator for what is of no org: the login of an org does not go for it.
func (a *app) onServer(ctx context.Context, what string, f func(context.Context, *remote.STS) error) error {
	a.DefaultOrg = ""
	return a.asOperator(ctx, what, f)
}

// asExecutorOperator runs one request against the executor's admin API.
func (a *app) asExecutorOperator(ctx context.Context, what string, f func(context.Context, *remote.Executor) error) error {
	executor, err := a.executor()
	if err != nil {
		return err
	}
	defer executor.Conn.Close()
	token, err := a.executorToken()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(remote.Bearer(ctx, token), a.Timeout)
	defer cancel()
	if err := f(ctx, executor); err != nil {
		return explain.Of(what, err)
	}
	return nil
}

// tokenFlags say where a token comes from: never from an argument, which other processes on the machine can read.
type tokenFlags struct {
	TokenFile string `aliases:"file" from:"OBO_TOKEN_FILE" default:"-" placeholder:"FILE" help:"File with the token, - for standard input (OBO_TOKEN_FILE)."`
}

func (t tokenFlags) read(a *app) (telemetry.Secret, error) {
	return remote.ReadSecret(t.TokenFile, a.in)
}

// presentFlags are those of a command that presents a token to the executor.
type presentFlags struct {
	tokenFlags
	DPoPKey string `name:"dpop-key" placeholder:"FILE" help:"Private JWK that the token is bound to."`
}

// present calls the executor with a token: with proofs when it is bound to a key.
func (c presentFlags) present(ctx context.Context, a *app, token telemetry.Secret, method string,
	f func(context.Context, ...grpc.CallOption) error) error {
	var proofs *remote.Proofs
	if c.DPoPKey != "" {
		prover, err := remote.ReadProver(c.DPoPKey, false, a.now)
		if err != nil {
			return err
		}
		proofs = remote.NewProofs(prover, a.Executor, a.CAFile)
	}
	return proofs.Call(proofs.Scheme(ctx, token), method, token, f)
}
