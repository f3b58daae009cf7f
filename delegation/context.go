package delegation

import "context"

type contextKey struct{}

// NewContext returns a context that carries a verified token. The interceptors of delegationgrpc and the middleware of
// delegationhttp do this.
func NewContext(ctx context.Context, v Verified) context.Context {
	return context.WithValue(ctx, contextKey{}, v)
}

// FromContext returns the token that NewContext put there, and whether there was one. A handler that gets false must
// refuse: nobody has been verified.
func FromContext(ctx context.Context) (Verified, bool) {
	v, ok := ctx.Value(contextKey{}).(Verified)
	return v, ok && v.claims != nil
}
