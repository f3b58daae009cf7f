package main

import (
	"context"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
)

// openSources opens what holds private keys outside the store, as far as the configuration names it.
func openSources(ctx context.Context, cfg config.Signing) (map[string]keys.Source, error) {
	out := map[string]keys.Source{}
	var err error
	if cfg.PKCS11 != nil {
		if out["pkcs11"], err = openPKCS11(*cfg.PKCS11); err != nil {
			return nil, err
		}
	}
	if cfg.AWSKMS != nil {
		if out["awskms"], err = openAWSKMS(ctx, *cfg.AWSKMS); err != nil {
			return nil, err
		}
	}
	return out, nil
}
