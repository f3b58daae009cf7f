package executorgrpc

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
)

// WatchConnections implements ExecutorAdminService.
func (s adminServer) WatchConnections(
	in *obov1.WatchConnectionsRequest, out grpc.ServerStreamingServer[obov1.WatchConnectionsResponse],
) error {
	// Headers say that the watch has begun: what happens from here on will be in it.
	begun := func() error { return out.SendHeader(nil) }
	return render(s.admin.Events.Watch(out.Context(), in.GetOrgId(), in.After, begun, func(e store.ConnectionEvent) error {
		return out.Send(&obov1.WatchConnectionsResponse{Event: &obov1.ConnectionEvent{
			Sequence: e.Sequence, Connection: e.Connection, Provider: e.Provider, Subject: e.Subject, OldStatus: e.Before, NewStatus: e.After,
			Reason: e.Reason, Time: timestamppb.New(e.Time),
		}})
	}))
}
