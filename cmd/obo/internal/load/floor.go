package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// floor is the least that any token server of this shape can do: take the message, make one ES256 signature, answer. It
// authenticates nobody, verifies nothing, decides nothing and records nothing.
type floor struct {
	obov1.UnimplementedExchangeServiceServer
	key *ecdsa.PrivateKey
}

// Exchange answers with a signature over what came.
func (f floor) Exchange(_ context.Context, r *obov1.ExchangeRequest) (*obov1.ExchangeResponse, error) {
	digest := sha256.Sum256([]byte(r.GetSubjectToken()))
	signature, err := ecdsa.SignASN1(rand.Reader, f.key, digest[:])
	if err != nil {
		return nil, err
	}
	return &obov1.ExchangeResponse{AccessToken: base64.RawURLEncoding.EncodeToString(signature)}, nil
}

// ServeFloor is the floor's process: it prints its address to out and serves until ctx ends.
func ServeFloor(ctx context.Context, out io.Writer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	obov1.RegisterExchangeServiceServer(server, floor{key: key})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	fmt.Fprintln(out, l.Addr())
	return server.Serve(l)
}
