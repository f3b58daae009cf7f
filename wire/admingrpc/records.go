package admingrpc

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/audit"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
)

func revocation(r store.Revocation) *obov1.Revocation {
	return &obov1.Revocation{
		Kind: r.Kind, Id: r.ID, OrgId: string(r.Org), Scope: r.Scope, Since: stamp(r.Since), Before: stamp(r.Before),
		Until: stamp(r.Until), Departed: r.Departed, Reason: r.Reason,
	}
}

// stamp is a time as protobuf; the zero time, which says "not known", is unset.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func liveTokens(records []audit.Record) []*obov1.LiveToken {
	out := make([]*obov1.LiveToken, len(records))
	for i, r := range records {
		out[i] = &obov1.LiveToken{
			Id: r.TokenID, Transaction: r.Transaction, Subject: r.Subject, ClientId: r.ClientID, Scopes: r.ScopeGranted,
			Issued: stamp(r.Time), Expiry: stamp(r.Expiry),
		}
		if len(r.Chain) > 0 {
			out[i].Actor = r.Chain[0]
		}
	}
	return out
}
