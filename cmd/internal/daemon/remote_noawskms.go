//go:build !awskms

package daemon

import (
	"context"
	"errors"

	"github.com/onbehalf/obo/config"
)

// openAWSKMS refuses the service: this binary was built without its client.
func openAWSKMS(context.Context, config.KeyEncryption) (remote, error) {
	return nil, errors.New("source awskms needs a binary that was built with go build -tags awskms; this one was not")
}
