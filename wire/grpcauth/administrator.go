package grpcauth

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Administrators says who may call the services of administrators, and what of them.
type Administrators struct {
	// Services are full names. Each has the operator's credential in Config.Bearer too, which is an operator's.
	Services []string
	// Verify accepts an administrator's token: (*delegation.Verifier).VerifyAdministrator.
	Verify func(ctx context.Context, token string) (delegation.Administrator, error)
	// Roles decides each call.
	Roles *policy.Roles
	Log   *slog.Logger
}

// theOperator is whoever has the operator's credential: for a first start, for machines, and for the day on which nobody can sign
// in.
func theOperator() delegation.Administrator {
	return delegation.Administrator{Subject: "operator:credential", OrgID: store.PlatformOrg, Role: policy.RoleOperator}
}

// caller is the key of the administrator in a context.
type caller struct{}

// Administrator is who makes a call that a Guard has let pass; the zero value when it was not to a service of administrators.
func Administrator(ctx context.Context) delegation.Administrator {
	a, _ := ctx.Value(caller{}).(delegation.Administrator)
	return a
}

// identify finds out who calls a service of administrators. Every token that is not taken is refused alike.
func (a *Administrators) identify(ctx context.Context, credential string) (delegation.Administrator, error) {
	who, err := a.Verify(ctx, credential)
	switch {
	case errors.Is(err, delegation.ErrUnavailable):
		return who, grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Cause: err,
			Description: "whether the administrator's token is good cannot be known now; try again"}
	case err != nil:
		a.Log.DebugContext(ctx, "an administrator's token was refused", "error", err)
		return who, unauthenticated()
	}
	return who, nil
}

// allow decides a call by the method and the org that its request names. A request that names none is about the server itself.
// What is refused is refused before anything is looked up, so the answer is the same whether or not there is such an org.
func (a *Administrators) allow(ctx context.Context, who delegation.Administrator, method string, request any) error {
	to := store.PlatformOrg
	if named, ok := request.(interface{ GetOrgId() string }); ok {
		to = delegation.OrgID(named.GetOrgId())
	}
	if d := a.Roles.Decide(who.Role, who.OrgID, act(method), to); !d.Allowed {
		a.Log.WarnContext(ctx, "an administrator was refused", "administrator", who.Subject, "role", who.Role, "org", who.OrgID,
			"method", method, "policies", d.Policies)
		return grpcerr.Error{Reason: grpcerr.AccessDenied,
			Description: "your role does not allow this; docs/ADMIN.md says what each role may do, and administrators in the org's " +
				"configuration who has which"}
	}
	return nil
}

// act is the name of a method in policy/roles: obo.v1.AdminService/GetOrg is AdminService.GetOrg.
func act(method string) string {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "." + name
}

// judged is a stream whose caller is judged by the first message that it sends.
type judged struct {
	grpc.ServerStream
	ctx    context.Context
	method string
	by     *Administrators
	passed bool
}

// Context has the administrator.
func (s *judged) Context() context.Context { return s.ctx }

// RecvMsg receives, and lets nothing pass that is not allowed.
func (s *judged) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil || s.passed {
		return err
	}
	if err := s.by.allow(s.ctx, Administrator(s.ctx), s.method, m); err != nil {
		return err
	}
	s.passed = true
	return nil
}
