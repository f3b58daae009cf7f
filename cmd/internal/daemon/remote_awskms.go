//go:build awskms

package daemon

import (
	"context"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/seal/awskms"
)

// openAWSKMS finds the credentials for the service.
func openAWSKMS(ctx context.Context, c config.KeyEncryption) (remote, error) {
	return awskms.Open(ctx, awskms.Config{Region: c.AWSKMS.Region, Endpoint: c.AWSKMS.Endpoint, Key: c.Key})
}
