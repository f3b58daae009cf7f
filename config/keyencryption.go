package config

import (
	"os"
	"strings"
)

// KeyEncryption says what encrypts the key in key_file: a key that never leaves a key service or a device, so that the file is worthless
// without it. It is asked when the file is read, at the start and at a reload, and never for a call.
type KeyEncryption struct {
	// Source is where that key is: awskms, in the AWS Key Management Service, or pkcs11, in a device. Both need a binary that was built
	// with that tag. Required.
	Source string `yaml:"source"`
	// Key is the ARN or id of a symmetric key in the service, and no alias; or the label of an AES key in the device. Required.
	Key string `yaml:"key"`
	// AWSKMS is the service. Required when it is the source.
	AWSKMS *AWSKMS `yaml:"awskms"`
	// PKCS11 is the device. Required when it is the source.
	PKCS11 *PKCS11 `yaml:"pkcs11"`
}

// keyEncryption wants a key, and where it is.
func (p *problems) keyEncryption(k *KeyEncryption) {
	if k == nil {
		return
	}
	p.oneOf("key_encryption.source", k.Source, "awskms", "pkcs11")
	p.required("key_encryption.key", k.Key, "name the key by its ARN or, in a device, by its label")
	if k.Source == "awskms" && (strings.HasPrefix(k.Key, "alias/") || strings.Contains(k.Key, ":alias/")) {
		p.add("key_encryption.key", "is an alias", "which can be moved to another key, and that one opens nothing", "write the key's ARN")
	}
	p.awskms("key_encryption.awskms", k.AWSKMS, k.Source == "awskms")
	p.pkcs11("key_encryption.pkcs11", k.PKCS11, k.Source == "pkcs11")
}

// awskms wants a service that can be reached.
func (p *problems) awskms(path string, c *AWSKMS, needed bool) {
	switch {
	case c != nil:
		p.required(path+".region", c.Region, "name the region of the keys, such as eu-central-1")
		if c.Endpoint != "" {
			p.webURL(path+".endpoint", c.Endpoint)
		}
	case needed:
		p.required(path, "", "name the region of the keys")
	}
}

// pkcs11 wants a device, and what opens it.
func (p *problems) pkcs11(path string, c *PKCS11, needed bool) {
	switch {
	case c != nil:
		p.required(path+".module", c.Module, "name the vendor's library, such as /usr/lib/softhsm/libsofthsm2.so")
		p.required(path+".token_label", c.TokenLabel, "name the token in it")
		p.required(path+".pin", c.PIN.Reveal(), "refer to it as ${file:/path}")
	case needed:
		p.required(path, "", "name the device that has the keys")
	}
}

// keyEncryptionAlone is a file with nothing but key_encryption.
type keyEncryptionAlone struct {
	KeyEncryption *KeyEncryption `yaml:"key_encryption"`
}

func (c *keyEncryptionAlone) setDefaults()         {}
func (c *keyEncryptionAlone) checkFiles(*problems) {}
func (c *keyEncryptionAlone) storeURL() string     { return "" }
func (c *keyEncryptionAlone) check(p *problems) {
	if c.KeyEncryption == nil {
		p.required("key_encryption", "", "write what encrypts the key file; docs/CONFIG.md lists the keys")
	}
	p.keyEncryption(c.KeyEncryption)
}

// LoadKeyEncryption reads a file that has key_encryption and nothing else, for a configuration that is to be made: as it is understood,
// and as it is written.
func LoadKeyEncryption(path string) (KeyEncryption, string, error) {
	var c keyEncryptionAlone
	if err := load(path, &c); err != nil {
		return KeyEncryption{}, "", err
	}
	text, err := os.ReadFile(path)
	return *c.KeyEncryption, strings.TrimRight(string(text), "\n") + "\n", err
}
