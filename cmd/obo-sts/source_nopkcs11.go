//go:build !pkcs11

package main

import (
	"errors"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
)

// openPKCS11 refuses a device: this binary was built without cgo, which its library needs.
func openPKCS11(config.PKCS11) (keys.Source, error) {
	return nil, errors.New("signing.pkcs11 needs a binary that was built with CGO_ENABLED=1 go build -tags pkcs11; this one was not")
}
