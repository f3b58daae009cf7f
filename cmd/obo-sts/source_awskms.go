//go:build awskms

package main

import (
	"context"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/keys/awskms"
)

// openAWSKMS finds the credentials for the service.
func openAWSKMS(ctx context.Context, cfg config.AWSKMS) (keys.Source, error) {
	return awskms.Open(ctx, awskms.Config{Region: cfg.Region, Endpoint: cfg.Endpoint})
}
