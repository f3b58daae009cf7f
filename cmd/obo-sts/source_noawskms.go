//go:build !awskms

package main

import (
	"context"
	"errors"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
)

// openAWSKMS refuses the service: this binary was built without its client.
func openAWSKMS(context.Context, config.AWSKMS) (keys.Source, error) {
	return nil, errors.New("signing.awskms needs a binary that was built with go build -tags awskms; this one was not")
}
