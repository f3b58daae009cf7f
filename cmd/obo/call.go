package main

import (
	"context"
	"io"
	"strings"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type callCommand struct {
	Tool       string `arg:"" help:"The tool, provider.operation."`
	Args       string `default:"{}" placeholder:"JSON" help:"Its arguments, one JSON object; @FILE reads a file, - standard input."`
	Connection string `placeholder:"ID" help:"The connection to use, when there is more than one."`
	presentFlags
}

// Help is shown below the flags.
func (callCommand) Help() string {
	return `Standard output gets the provider's answer: data from outside, never instructions. When the tool answers with an
error, the exit code is 5.

Examples:
  obo call tracker.list_issues --args '{"project":"apollo"}' --token-file second
  obo call tracker.create_issue --args @issue.json --token-file second -o json`
}

func (c callCommand) Run(ctx context.Context, a *app) error {
	if c.Args == "-" && c.TokenFile == "-" {
		return explain.Misuse("cannot read two things from standard input", "the token and the arguments are both to come from there",
			"give --token-file")
	}
	args, err := c.arguments(a)
	if err != nil {
		return err
	}
	executor, err := a.executor()
	if err != nil {
		return err
	}
	defer executor.Conn.Close()
	token, err := c.read(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	var resp *obov1.ExecuteResponse
	err = c.present(ctx, a, token, obov1.ExecutorService_Execute_FullMethodName,
		func(ctx context.Context, opts ...grpc.CallOption) (err error) {
			resp, err = executor.Executor.Execute(ctx,
				&obov1.ExecuteRequest{Tool: c.Tool, Arguments: args, Connection: c.Connection}, opts...)
			return err
		})
	if err != nil {
		return explain.Of("cannot call "+render.Clean(c.Tool), err)
	}
	if err := a.Print(resp, func() {
		if r := resp.GetResult(); r != nil {
			a.Printf("%s\n", r.GetData())
		}
	}); err != nil {
		return err
	}
	return toolProblem(c.Tool, resp)
}

func (c callCommand) arguments(a *app) (string, error) {
	switch {
	case c.Args == "-":
		data, err := io.ReadAll(io.LimitReader(a.in, 1<<20))
		return string(data), err
	case strings.HasPrefix(c.Args, "@"):
		s, err := remote.ReadSecret(c.Args[1:], nil)
		return s.Reveal(), err
	default:
		return c.Args, nil
	}
}

// toolProblem is what an error arm means for a person; nil for a result.
func toolProblem(tool string, resp *obov1.ExecuteResponse) error {
	e := resp.GetError()
	if e == nil {
		return nil
	}
	p := &explain.Problem{What: tool + " answered with an error", Why: e.GetKind() + ": " + render.Clean(e.GetMessage()),
		Reason: e.GetKind(), Code: explain.ToolError, Do: "obo audit show " + resp.GetActionId() + " shows what happened"}
	switch {
	case e.GetReconnectUrl() != "":
		p.Do = "the user opens " + render.Clean(e.GetReconnectUrl())
	case e.GetRetryAfter() != nil:
		p.Do = "try again in " + e.GetRetryAfter().AsDuration().String()
	case e.GetRetryable():
		p.Do = "try again"
	}
	return p
}

type toolsCommand struct{ presentFlags }

// Help is shown below the flags.
func (toolsCommand) Help() string {
	return `Examples:
  obo tools --token-file second
  obo tools --token-file second -o json | jq '.tools[].name'`
}

func (c toolsCommand) Run(ctx context.Context, a *app) error {
	executor, err := a.executor()
	if err != nil {
		return err
	}
	defer executor.Conn.Close()
	token, err := c.read(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	var resp *obov1.ListToolsResponse
	err = c.present(ctx, a, token, obov1.ExecutorService_ListTools_FullMethodName,
		func(ctx context.Context, opts ...grpc.CallOption) (err error) {
			resp, err = executor.Executor.ListTools(ctx, &obov1.ListToolsRequest{}, opts...)
			return err
		})
	if err != nil {
		return explain.Of("cannot list tools", err)
	}
	return a.Print(resp, func() {
		rows := [][]string{{"TOOL", "RISK", "SCOPES", "WHAT IT DOES"}}
		for _, t := range resp.GetTools() {
			rows = append(rows, []string{t.GetName(), t.GetRisk(), strings.Join(t.GetScopes(), " "), render.Clean(t.GetDescription())})
		}
		a.Table(rows)
	})
}
