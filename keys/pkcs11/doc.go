// Package pkcs11 is a keys.Source: private keys in a PKCS#11 token, such as an HSM, which they never leave. It is built with the tag
// pkcs11 and needs cgo; the default build has neither.
package pkcs11
