// Package executorgrpc is the first door to the executor: obo.v1.ExecutorService for agents, and obo.v1.ExecutorAdminService
// for operators. It translates and decides nothing.
package executorgrpc

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Executor makes calls. Every refusal MUST be an *executor.Error; anything else is shown as INTERNAL_ERROR.
type Executor interface {
	Execute(ctx context.Context, token string, r executor.Request) (executor.Response, error)
	ListTools(ctx context.Context, token string) ([]executor.ToolInfo, error)
}

// Register puts the service on a server. It authenticates its callers itself, by the delegation token that they send.
func Register(s grpc.ServiceRegistrar, x Executor) {
	obov1.RegisterExecutorServiceServer(s, server{executor: x})
}

type server struct {
	obov1.UnimplementedExecutorServiceServer
	executor Executor
}

// maxMessage bounds a request. The server's own limit is that of the largest message of any of its services.
const maxMessage = connection.MaxArguments + 4<<10

// Execute implements ExecutorService.
func (s server) Execute(ctx context.Context, in *obov1.ExecuteRequest) (*obov1.ExecuteResponse, error) {
	token, err := bearer(ctx)
	if err != nil {
		return nil, err
	}
	if proto.Size(in) > maxMessage {
		return nil, grpcerr.Error{
			Reason: grpcerr.InvalidRequest, Field: "arguments", Description: "the arguments are larger than 256 KiB",
		}
	}
	out, err := s.executor.Execute(ctx, token, executor.Request{
		Tool: in.GetTool(), Arguments: []byte(in.GetArguments()), Connection: in.GetConnection(),
	})
	if err != nil {
		return nil, render(err)
	}
	response := &obov1.ExecuteResponse{ActionId: out.ActionID}
	if out.Error != nil {
		response.Outcome = &obov1.ExecuteResponse_Error{Error: toolError(out.Error)}
	} else if out.Result != nil {
		response.Outcome = &obov1.ExecuteResponse_Result{Result: &obov1.ToolResult{
			Data: string(out.Result.Data), Status: int32(out.Result.Status),
		}}
	}
	return response, nil
}

func toolError(e *executor.ToolError) *obov1.ToolError {
	out := &obov1.ToolError{
		Kind: string(e.Kind), Message: e.Message, Retryable: e.Retryable, ReconnectUrl: e.ReconnectURL,
	}
	if e.RetryAfter > 0 {
		out.RetryAfter = durationpb.New(e.RetryAfter)
	}
	return out
}

// ListTools implements ExecutorService.
func (s server) ListTools(ctx context.Context, _ *obov1.ListToolsRequest) (*obov1.ListToolsResponse, error) {
	token, err := bearer(ctx)
	if err != nil {
		return nil, err
	}
	tools, err := s.executor.ListTools(ctx, token)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListToolsResponse{Tools: make([]*obov1.Tool, len(tools))}
	for i, t := range tools {
		out.Tools[i] = &obov1.Tool{
			Name: t.Name, Description: t.Description, InputSchema: string(t.InputSchema), OutputSchema: string(t.OutputSchema),
			Risk: t.Risk, Scopes: t.Scopes,
		}
	}
	return out, nil
}

// bearer finds the delegation token. It finds and does not judge.
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 { // two readers of two values could take different ones
		return "", unauthenticated("one authorization metadata value is needed: Bearer and a delegation token")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", unauthenticated("the authorization metadata must be Bearer and a delegation token")
	}
	return token, nil
}

func unauthenticated(description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidToken, Description: description}
}

// render gives a refusal its place in the table of grpcerr, whose reasons are the same words.
func render(err error) error {
	e, ok := errors.AsType[*executor.Error](err)
	if !ok {
		return err // the context's, or a bug: the interceptor knows
	}
	out := grpcerr.Error{
		Reason: grpcerr.Reason(e.Reason), Description: e.Description, Field: e.Field, RetryAfter: e.RetryAfter, Cause: e.Unwrap(),
	}
	for key, value := range map[string]string{"scope": e.Scope, "actionId": e.ActionID} {
		if value == "" {
			continue
		}
		if out.Metadata == nil {
			out.Metadata = map[string]string{}
		}
		out.Metadata[key] = value
	}
	return out
}
