package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/onbehalf/obo/client"
)

// An orchestrator exchanges the user's ID token, and calls a service with what it gets.
func Example() {
	ctx := context.Background()
	server := httptest.NewServer(tokenServer{}) // in place of https://sts.example
	defer server.Close()

	metadata, err := client.Discover(ctx, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := client.New(client.Config{Server: metadata, ClientID: "acme.orchestrator",
		Auth: client.Workload(func(context.Context) (string, error) { return "the platform's token for this workload", nil })})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := client.Request{
		Subject: client.Static("the user's ID token"), SubjectType: client.TypeIDToken,
		Resource: []string{"https://tracker.example"}, Scope: "tracker:issues:read",
	}
	token, err := c.Token(ctx, request)
	var refused *client.Error
	switch {
	case errors.As(err, &refused):
		fmt.Println("refused:", refused.Code, "action", refused.ActionID)
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	fmt.Println(token.Type, token.Scope)

	// Each request of this client carries the token, which renews itself.
	tracker := &http.Client{Transport: c.Transport(request, nil)}
	_ = tracker
	// Output: Bearer tracker:issues:read
}

// tokenServer issues one token, whatever it is asked.
type tokenServer struct{}

func (tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base := "http://" + r.Host
	if r.Method == http.MethodGet {
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, base, base+"/token")
		return
	}
	fmt.Fprintf(w, `{"access_token":"...","token_type":"Bearer","expires_in":300,"scope":%q}`, r.FormValue("scope"))
}
