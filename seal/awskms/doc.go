// Package awskms encrypts key files with a key in the AWS Key Management Service, which it never leaves. The rest of it needs the build
// tag awskms.
package awskms
