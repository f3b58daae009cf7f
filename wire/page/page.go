// Package page reads what part of a list a request asks for, and makes the token of the part after it (AIP-158).
//
// A token holds the key of the last item, never an offset, so that what comes and goes between two pages makes no other item be
// left out or shown twice. It holds the request that it belongs to as a hash, so that it continues that list and no other: not of
// another org, method or filter. It is no credential: every page is authenticated and judged by itself, and who makes a token up
// gets nothing that the same request would not have shown.
package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/onbehalf/obo/wire/grpcerr"
)

// The sizes of a page.
const (
	DefaultSize = 100
	MaxSize     = 1000
)

const (
	version   = 1
	binding   = 16   // bytes of the request's hash
	maxKey    = 1024 // bytes of a key
	sizeName  = protoreflect.Name("page_size")
	tokenName = protoreflect.Name("page_token")
)

// Request is a request for a list.
type Request interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// Page is the part of a list that a request asks for.
type Page struct {
	Size    int    // 1 to MaxSize
	After   string // the key of the item before the first; empty: from the beginning
	request [binding]byte
}

// Of reads a request. What is wrong is a grpcerr.Error.
func Of(in Request) (Page, error) {
	p := Page{Size: min(int(in.GetPageSize()), MaxSize)}
	switch {
	case p.Size < 0:
		return Page{}, invalid(sizeName, "use 1 to 1000, or 0 for 100")
	case p.Size == 0:
		p.Size = DefaultSize
	}
	var err error
	if p.request, err = identify(in); err != nil {
		return Page{}, err
	}
	if text := in.GetPageToken(); text != "" {
		after, ok := p.open(text)
		if !ok {
			return Page{}, Invalid()
		}
		p.After = after
	}
	return p, nil
}

// Next is the token of the page after the item of a key.
func (p Page) Next(key string) string {
	raw := append([]byte{version}, p.request[:]...)
	return base64.RawURLEncoding.EncodeToString(append(raw, key...))
}

// Full is the token of the page after these items: none when they do not fill this page, which then is the last.
func Full[T any](p Page, items []T, key func(T) string) string {
	if len(items) < p.Size {
		return ""
	}
	return p.Next(key(items[len(items)-1]))
}

// Invalid refuses a token. For a list, it refuses a key that is none of its items'.
func Invalid() error {
	return invalid(tokenName, "page_token is not of this request: send next_page_token as it came and the rest of the request "+
		"unchanged, or begin anew without one")
}

func invalid(field protoreflect.Name, description string) error {
	return grpcerr.Error{Reason: grpcerr.InvalidRequest, Field: string(field), Description: description}
}

// open reads a token. There is one text for each key: the decoder skips line breaks, so the text is made again.
func (p Page) open(text string) (key string, ok bool) {
	if len(text) > base64.RawURLEncoding.EncodedLen(1+binding+maxKey) {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) <= 1+binding || raw[0] != version || !bytes.Equal(raw[1:1+binding], p.request[:]) {
		return "", false
	}
	key = string(raw[1+binding:])
	return key, p.Next(key) == text
}

// identify is the hash of everything in a request but the page's own two fields. The bytes of a message are the same within a
// release of the server; a token that meets another during an upgrade is at worst refused.
func identify(in Request) (out [binding]byte, err error) {
	m := proto.Clone(in).ProtoReflect()
	fields := m.Descriptor().Fields()
	for _, name := range []protoreflect.Name{sizeName, tokenName} {
		if f := fields.ByName(name); f != nil {
			m.Clear(f)
		}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		return out, grpcerr.Error{Reason: grpcerr.InvalidRequest, Description: "the request is malformed", Cause: err}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", m.Descriptor().FullName(), data))
	copy(out[:], sum[:])
	return out, nil
}
