package open

import (
	"net/url"
	"strings"

	"github.com/sluicemq/sluice/storage/bucket"
)

// checkS3 refuses an s3:// URL whose bucket or prefix no store accepts, or this package does not
// accept. The store's own answer would be misleading: a signature that does not match, or a host
// that is not found.
func checkS3(rawURL string) error {
	rest, ok := strings.CutPrefix(rawURL, "s3://")
	if !ok {
		return nil
	}
	path, rawQuery, _ := strings.Cut(rest, "?")
	name, prefix, _ := strings.Cut(path, "/")
	if name == "" {
		return denied("no bucket in the URL; write s3://bucket/prefix")
	}
	if strings.Contains(name, "@") || strings.Contains(path, "#") {
		return nil // open gives its own answer to this
	}
	pathStyle := strings.Contains(rawQuery, "path_style=true")
	if err := checkBucketName(name, pathStyle); err != nil {
		return err
	}
	if decoded, err := url.PathUnescape(prefix); err == nil {
		prefix = decoded
	}
	return checkPrefix(strings.Trim(prefix, "/"))
}

// checkBucketName checks a name against S3's rules. Upper case and underscores are allowed with
// path_style=true: buckets created before 2018 and some other stores have them, but a host name
// cannot contain them.
func checkBucketName(name string, pathStyle bool) error {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.':
		case 'A' <= c && c <= 'Z', c == '_':
			if !pathStyle {
				return denied("the bucket name %q has %q, which cannot stand in a host name; if the store has such a bucket, add path_style=true", name, string(c))
			}
		case c == ':':
			return denied("the bucket name %q has a port; the store's address is a parameter: s3://bucket/prefix?endpoint=http://host:port", name)
		default:
			return denied("the bucket name %q has %q; bucket names are made of a-z, 0-9, hyphens and dots", name, firstRune(name[i:]))
		}
	}
	switch {
	case len(name) < 3 || len(name) > 63:
		return denied("the bucket name %q has %d characters; want 3 to 63", name, len(name))
	case strings.ContainsAny(name[:1]+name[len(name)-1:], "-."):
		return denied("the bucket name %q must begin and end with a letter or digit", name)
	case strings.Contains(name, ".."):
		return denied("the bucket name %q has two dots in a row", name)
	}
	return nil
}

// checkPrefix checks that the prefix has only bytes that a key may have.
func checkPrefix(prefix string) error {
	for i := range len(prefix) {
		if !bucket.KeyByte(prefix[i]) {
			what := firstRune(prefix[i:])
			if what == " " {
				return denied("the prefix %q has a space; prefixes are made of letters, digits, and any of . _ - /", prefix)
			}
			return denied("the prefix %q has %q; prefixes are made of letters, digits, and any of . _ - /", prefix, what)
		}
	}
	if prefix != "" && bucket.ValidateKey(prefix) != nil {
		return denied("the prefix %q has a part that is empty, . or .., or is too long: at most %d bytes, 255 between two slashes", prefix, bucket.KeyBytesMax)
	}
	return nil
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return s
}
