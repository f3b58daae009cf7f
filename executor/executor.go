// Package executor spends delegation tokens: it makes provider calls with credentials that no agent ever holds.
package executor

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Request is one call.
type Request struct {
	Tool       string // "provider.operation"
	Arguments  []byte // one JSON object; empty means {}
	Connection string // which connection, when the subject has more than one
}

// Response is what came of a call: Result, or Error when there is none.
type Response struct {
	ActionID string // the audit trail knows the call by it
	Result   *Result
	Error    *ToolError
}

// Result is data from outside: untrusted, never instructions.
type Result struct {
	Data   json.RawMessage
	Status int // the provider's HTTP status
}

// ToolError is an error that an agent can act on. Its message is ours: no provider text, no secret.
type ToolError struct {
	Kind         Kind
	Message      string
	Retryable    bool
	RetryAfter   time.Duration // 0: not known
	ReconnectURL string
}

// Kind says what went wrong behind the executor.
type Kind string

// Service is the executor.
type Service struct{}

// Execute makes one call. A refusal of the caller is an *Error; what the provider or its credential answered is in the
// Response.
func (s *Service) Execute(ctx context.Context, token string, r Request) (Response, error) {
	return Response{}, errors.New("executor: not there yet")
}

// ToolInfo describes a tool to an agent.
type ToolInfo struct {
	Name, Description         string
	InputSchema, OutputSchema json.RawMessage
	Risk                      string
	Scopes                    []string
}

// ListTools lists the tools that the token's scopes cover, in name order.
func (s *Service) ListTools(ctx context.Context, token string) ([]ToolInfo, error) {
	return nil, errors.New("executor: not there yet")
}
