package bucket

import (
	"fmt"
	"strings"
)

const (
	// KeyBytesMax leaves room for a prefix below S3's limit of 1,024 bytes.
	KeyBytesMax = 512
	// keySegmentBytesMax is the longest name that file systems accept.
	keySegmentBytesMax = 255
)

// ValidateKey returns ErrDenied unless the key is safe as an object key and as a path below a
// folder: segments of [A-Za-z0-9._-] joined by single slashes, none of them "." or "..", at most
// KeyBytesMax bytes.
func ValidateKey(key string) error {
	if key == "" || len(key) > KeyBytesMax {
		return fmt.Errorf("%w: a key has 1 to %d bytes, this one %d", ErrDenied, KeyBytesMax, len(key))
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." || len(segment) > keySegmentBytesMax {
			return fmt.Errorf("%w: key %q has a segment that is empty, a dot name or too long", ErrDenied, key)
		}
	}
	return validateBytes(key)
}

// ValidatePrefix returns ErrDenied unless some key could begin with the prefix. An empty prefix is
// valid.
func ValidatePrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if strings.HasSuffix(prefix, "/") {
		return ValidateKey(prefix[:len(prefix)-1])
	}
	return ValidateKey(prefix + "x") // what follows may complete a name that begins with a dot
}

func validateBytes(key string) error {
	for i := range len(key) {
		if !KeyByte(key[i]) {
			return fmt.Errorf("%w: key %q has byte %q; keys are made of [A-Za-z0-9._/-]", ErrDenied, key, key[i])
		}
	}
	return nil
}

// KeyByte reports whether keys may contain the byte.
func KeyByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '-' || c == '/'
}
