package executorgrpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/executor"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// GetVault implements ExecutorAdminService.
func (s adminServer) GetVault(ctx context.Context, in *obov1.GetVaultRequest) (*obov1.GetVaultResponse, error) {
	got, err := s.admin.Vault(ctx, in.GetOrgId())
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.GetVaultResponse{WithoutCredential: int64(got.Without), Destroyed: int64(got.Destroyed())}
	if len(got.Keys) > 0 {
		out.KeyEncryptionKey = got.Under.String()
	}
	for i, id := range got.Keys {
		out.Keys = append(out.Keys, &obov1.DataKey{Id: id.String(), Seals: i == 0, Credentials: int64(got.Sealed[id])})
	}
	return out, nil
}

// toldEvery is how many credentials are sealed between two messages.
const toldEvery = 100

// RotateDataKey implements ExecutorAdminService.
func (s adminServer) RotateDataKey(in *obov1.RotateDataKeyRequest, out grpc.ServerStreamingServer[obov1.RotateDataKeyResponse]) error {
	last := &obov1.RotateDataKeyResponse{}
	var lost error // whoever asked has gone: the context ends too
	got, err := s.as(out.Context()).RotateDataKey(out.Context(), executor.RotateDataKeyRequest{
		Org: in.GetOrgId(), DryRun: in.GetDryRun(), Told: func(done, total int) {
			last.Done, last.Total = int64(done), int64(total)
			if done%toldEvery == 0 && lost == nil {
				lost = out.Send(&obov1.RotateDataKeyResponse{Done: last.GetDone(), Total: last.GetTotal()})
			}
		},
	})
	if err != nil {
		return render(err)
	}
	last.Complete, last.Changes = !in.GetDryRun(), changes(got)
	return out.Send(last)
}
