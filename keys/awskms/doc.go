// Package awskms is a keys.Source: private keys in the AWS Key Management Service, which they never leave. It is built with the tag
// awskms; the default build has none of it.
package awskms
