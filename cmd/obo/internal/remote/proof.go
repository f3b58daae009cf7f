package remote

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// ReadProver reads the key that tokens are bound to (RFC 9449), a private JWK; with make it is made when it is not there.
func ReadProver(path string, make bool, now func() time.Time) (*dpop.Prover, error) {
	if make {
		if err := makeKey(path); err != nil {
			return nil, explain.Failure("cannot make the DPoP key "+path, err, "name a file in a folder that you may write to")
		}
	}
	key, err := ReadKey(path)
	if err != nil {
		return nil, err
	}
	return dpop.NewSignerProver(key, now)
}

// NewProver makes a key that nobody keeps.
func NewProver(now func() time.Time) (*dpop.Prover, error) {
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		return nil, err
	}
	return dpop.NewProver(key, now)
}

// makeKey makes a key file that only its owner can read, unless there is one.
func makeKey(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		return err
	}
	data, err := jose.MarshalPrivateJWK("dpop", jose.ES256, key)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Proofs are those of the calls to one server. A nil *Proofs makes none.
type Proofs struct {
	prover *dpop.Prover
	base   string // scheme and authority, as a proof names them
}

// NewProofs makes proofs for the server that Dial reaches at the same address; none when there is no prover.
func NewProofs(prover *dpop.Prover, address, caFile string) *Proofs {
	if prover == nil {
		return nil
	}
	scheme := "https://"
	if host, _, err := net.SplitHostPort(address); err == nil && Loopback(host) && caFile == "" {
		scheme = "http://"
	}
	return &Proofs{prover, scheme + address}
}

// Call makes a call, with a proof for a method such as /obo.v1.ExecutorService/Execute and for a token (empty at the
// authorization server), and once more when the server wants a nonce (DP4, DP10). f is called for each attempt: whatever is
// accepted only once, it makes anew.
func (p *Proofs) Call(ctx context.Context, method string, token telemetry.Secret,
	f func(context.Context, ...grpc.CallOption) error) error {
	if p == nil {
		return f(ctx)
	}
	nonce := ""
	for {
		proof, err := p.prover.Proof(http.MethodPost, p.base+method, nonce, token.Reveal())
		if err != nil {
			return explain.Failure("cannot make the proof of possession", err, "check the DPoP key")
		}
		var trailer metadata.MD
		err = f(metadata.AppendToOutgoingContext(ctx, "dpop", proof), grpc.Trailer(&trailer))
		offered := trailer.Get("dpop-nonce")
		if nonce != "" || len(offered) != 1 || status.Code(err) != codes.Unauthenticated {
			return err
		}
		nonce = offered[0]
	}
}

// Scheme is how a token is presented: DPoP when it is bound to the key that proofs are made with.
func (p *Proofs) Scheme(ctx context.Context, token telemetry.Secret) context.Context {
	scheme := "Bearer "
	if p != nil {
		scheme = "DPoP "
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", scheme+token.Reveal())
}
