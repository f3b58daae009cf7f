//go:build pkcs11

package main

import (
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/keys/pkcs11"
)

// openSources logs in to the device that the configuration names.
func openSources(cfg config.Signing) (map[string]keys.Source, error) {
	if cfg.PKCS11 == nil {
		return nil, nil
	}
	s, err := pkcs11.Open(pkcs11.Config{Module: cfg.PKCS11.Module, TokenLabel: cfg.PKCS11.TokenLabel, PIN: cfg.PKCS11.PIN})
	if err != nil {
		return nil, err
	}
	return map[string]keys.Source{"pkcs11": s}, nil
}
