// Package executorgrpc is the first door to the executor: obo.v1.ExecutorService for agents, and obo.v1.ExecutorAdminService
// for operators. It translates and decides nothing.
package executorgrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Executor makes calls: *executor.Service. Every refusal MUST be an *executor.Error; anything else is shown as INTERNAL_ERROR.
type Executor interface {
	Execute(ctx context.Context, p executor.Presented, r executor.Request) (executor.Response, error)
	ListTools(ctx context.Context, p executor.Presented) (executor.Tools, error)
}

// Config is what the door needs.
type Config struct {
	Executor Executor // required
	// Hosts are those under which agents call this door, without ports: a proof of possession must name one of them (DP10).
	// Without any, no proof is accepted.
	Hosts []string
	// ResourceMetadata is the URL of the protected resource metadata, for challenges (RFC 9728 section 5.1); empty: none.
	ResourceMetadata string
}

// Register puts the service on a server. It authenticates its callers itself, by the delegation token that they send.
func Register(s grpc.ServiceRegistrar, c Config) {
	obov1.RegisterExecutorServiceServer(s, server{Config: c})
}

type server struct {
	obov1.UnimplementedExecutorServiceServer
	Config
}

// maxMessage bounds a request. The server's own limit is that of the largest message of any of its services.
const maxMessage = connection.MaxArguments + 4<<10

// Execute implements ExecutorService.
func (s server) Execute(ctx context.Context, in *obov1.ExecuteRequest) (*obov1.ExecuteResponse, error) {
	p, err := s.presented(ctx, obov1.ExecutorService_Execute_FullMethodName)
	if err != nil {
		return nil, s.refused(ctx, p, err)
	}
	if proto.Size(in) > maxMessage {
		return nil, grpcerr.Error{
			Reason: grpcerr.InvalidRequest, Field: "arguments", Description: "the arguments are larger than 256 KiB",
		}
	}
	out, err := s.Executor.Execute(ctx, p, executor.Request{
		Tool: in.GetTool(), Arguments: []byte(in.GetArguments()), Connection: in.GetConnection(),
	})
	if err != nil {
		return nil, s.refused(ctx, p, err)
	}
	trailer(ctx, nonceKey, out.Nonce)
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
	p, err := s.presented(ctx, obov1.ExecutorService_ListTools_FullMethodName)
	if err != nil {
		return nil, s.refused(ctx, p, err)
	}
	tools, err := s.Executor.ListTools(ctx, p)
	if err != nil {
		return nil, s.refused(ctx, p, err)
	}
	trailer(ctx, nonceKey, tools.Nonce)
	out := &obov1.ListToolsResponse{Tools: make([]*obov1.Tool, len(tools.List))}
	for i, t := range tools.List {
		out.Tools[i] = &obov1.Tool{
			Name: t.Name, Description: t.Description, InputSchema: string(t.InputSchema), OutputSchema: string(t.OutputSchema),
			Risk: t.Risk, Scopes: t.Scopes,
		}
	}
	return out, nil
}

// refused renders a refusal, with what the caller needs for another attempt in the trailer.
func (s server) refused(ctx context.Context, p executor.Presented, err error) error {
	if e, ok := errors.AsType[*executor.Error](err); ok {
		trailer(ctx, challengeKey, Challenges(p.Scheme, e, s.ResourceMetadata)...)
		trailer(ctx, nonceKey, e.Nonce)
	}
	return render(err)
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
