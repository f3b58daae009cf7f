//go:build pkcs11

package daemon

import (
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/seal/pkcs11"
)

// openPKCS11 logs in to the device.
func openPKCS11(c config.KeyEncryption) (remote, error) {
	return pkcs11.Open(pkcs11.Config{Module: c.PKCS11.Module, TokenLabel: c.PKCS11.TokenLabel, PIN: c.PKCS11.PIN, Key: c.Key})
}
