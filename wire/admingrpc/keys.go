package admingrpc

import (
	"context"

	"github.com/onbehalf/obo/exchange/admin"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
)

// ListKeys implements AdminService.
func (s server) ListKeys(ctx context.Context, _ *obov1.ListKeysRequest) (*obov1.ListKeysResponse, error) {
	infos, err := s.admin.ListKeys(ctx)
	if err != nil {
		return nil, render(err)
	}
	return &obov1.ListKeysResponse{Keys: signingKeys(infos)}, nil
}

// RotateKeys implements AdminService.
func (s server) RotateKeys(ctx context.Context, in *obov1.RotateKeysRequest) (*obov1.RotateKeysResponse, error) {
	var got admin.KeysResult
	var err error
	if kids := in.GetCompromisedKids(); len(kids) > 0 {
		got, err = s.as(ctx).BurnKeys(ctx, admin.BurnRequest{KIDs: kids, Reason: in.GetReason(), DryRun: in.GetDryRun()})
	} else {
		got, err = s.as(ctx).RotateKeys(ctx, in.GetDryRun())
	}
	if err != nil {
		return nil, render(err)
	}
	return &obov1.RotateKeysResponse{Keys: signingKeys(got.Keys), Sequence: got.Sequence, Changes: changes(got.Changes)}, nil
}

// RetireKey implements AdminService.
func (s server) RetireKey(ctx context.Context, in *obov1.RetireKeyRequest) (*obov1.RetireKeyResponse, error) {
	got, err := s.as(ctx).RetireKey(ctx, in.GetKid(), in.GetDryRun())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.RetireKeyResponse{Keys: signingKeys(got.Keys), Changes: changes(got.Changes)}, nil
}

// ImportKey implements AdminService.
func (s server) ImportKey(ctx context.Context, in *obov1.ImportKeyRequest) (*obov1.ImportKeyResponse, error) {
	got, err := s.as(ctx).ImportKey(ctx, keys.ImportRequest{
		Algorithm: jose.Algorithm(in.GetAlg()), Private: in.GetPrivateKey(), Source: in.GetSource(), Reference: in.GetReference(),
	}, in.GetDryRun())
	if err != nil {
		return nil, render(err)
	}
	return &obov1.ImportKeyResponse{Keys: signingKeys(got.Keys), Changes: changes(got.Changes)}, nil
}

func signingKeys(infos []keys.Info) []*obov1.SigningKey {
	out := make([]*obov1.SigningKey, len(infos))
	for i, k := range infos {
		out[i] = &obov1.SigningKey{
			Kid: k.KID, Alg: string(k.Algorithm), State: string(k.State), Source: k.Source,
			Published: stamp(k.Published), Activate: stamp(k.Activate), Deactivate: stamp(k.Deactivate), Remove: stamp(k.Remove),
		}
	}
	return out
}
