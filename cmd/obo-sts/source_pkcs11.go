//go:build pkcs11

package main

import (
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/keys/pkcs11"
)

// openPKCS11 logs in to a device.
func openPKCS11(cfg config.PKCS11) (keys.Source, error) {
	return pkcs11.Open(pkcs11.Config{Module: cfg.Module, TokenLabel: cfg.TokenLabel, PIN: cfg.PIN})
}
