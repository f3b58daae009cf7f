package delegationfeed_test

import (
	"context"
	"log"
	"net/http"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationfeed"
)

func ExampleFollow() {
	feed, err := delegationfeed.Follow(context.Background(), delegationfeed.Config{
		Addresses: []string{"sts-1.example:8443", "sts-2.example:8443"},
		TokenFile: "/etc/service/feed.token",
	})
	if err != nil {
		log.Print(err)
		return
	}
	defer feed.Close()
	keys, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: "https://sts.example/jwks"})
	if err != nil {
		log.Print(err)
		return
	}
	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: "https://sts.example", Audience: "https://service.example", Keys: keys, Revocations: feed,
	})
	if err != nil {
		log.Print(err)
		return
	}
	http.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := feed.Fresh(); err != nil { // every token is refused
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	_ = verifier // in delegationgrpc's interceptor or delegationhttp's middleware
}
