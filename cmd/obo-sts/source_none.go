//go:build !pkcs11

package main

import (
	"errors"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/keys"
)

// openSources refuses a device: this binary was built without cgo, which its library needs.
func openSources(cfg config.Signing) (map[string]keys.Source, error) {
	if cfg.PKCS11 != nil {
		return nil, errors.New("signing.pkcs11 needs a binary that was built with CGO_ENABLED=1 go build -tags pkcs11; this one was not")
	}
	return nil, nil
}
