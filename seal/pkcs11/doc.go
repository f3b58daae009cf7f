// Package pkcs11 encrypts key files with a key in a PKCS#11 device, which it never leaves. The rest of it needs the build tag pkcs11, and
// cgo.
package pkcs11
