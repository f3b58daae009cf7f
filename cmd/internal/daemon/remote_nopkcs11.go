//go:build !pkcs11

package daemon

import (
	"errors"

	"github.com/onbehalf/obo/config"
)

// openPKCS11 refuses the device: this binary was built without cgo, which its library needs.
func openPKCS11(config.KeyEncryption) (remote, error) {
	return nil, errors.New("source pkcs11 needs a binary that was built with CGO_ENABLED=1 go build -tags pkcs11; this one was not")
}
