package open

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/dir"
	"github.com/sluicemq/sluice/storage/bucket/mem"
	"github.com/sluicemq/sluice/storage/bucket/s3"
	"github.com/sluicemq/sluice/vfs"
)

// Options has the settings that are not in the URL.
type Options struct {
	// Memory allows mem://, whose objects die with the process.
	Memory bool
	// ReadOnly is for tools that run beside a broker. A file:// folder is not made, not cleaned and
	// not written to.
	ReadOnly bool
	// Log gets the lines of the S3 client library. If Log is nil, the lines are dropped.
	Log *slog.Logger
	// Retry configures the retries of passing failures. Its zero value suits every caller.
	Retry bucket.RetryConfig
}

// Open opens one of these buckets, with retries in front:
//
//	s3://bucket/prefix?region=…&endpoint=…&path_style=true
//	file:///absolute/path
//	mem://
//
// It does not yet send anything to an s3 store: bucket.Probe does that.
func Open(ctx context.Context, rawURL string, o Options) (*bucket.Retrying, error) {
	inner, err := open(ctx, rawURL, o)
	if err != nil {
		return nil, fmt.Errorf("open bucket %q: %w", redacted(rawURL), err)
	}
	return bucket.WithRetry(inner, o.Retry)
}

func open(ctx context.Context, rawURL string, o Options) (bucket.Bucket, error) {
	if err := o.Retry.Validate(); err != nil {
		return nil, err
	}
	// This check runs before url.Parse, whose message about a space is about hosts.
	if err := checkS3(rawURL); err != nil {
		return nil, err
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, denied("not a URL; write s3://bucket/prefix, file:///path or mem://")
	}
	if u.User != nil || u.Fragment != "" {
		return nil, denied("a bucket URL has no user, password or fragment; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role")
	}
	query, err := parameters(u)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "s3":
		return openS3(ctx, u, query, o)
	case "file":
		return openFile(u, o)
	case "mem":
		return openMem(u, o)
	}
	return nil, denied("unknown scheme %q; use s3://bucket/prefix, file:///path or mem://", u.Scheme)
}

// parameters checks that the scheme knows each parameter, and that each is given once.
func parameters(u *url.URL) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, denied("the part after '?' is not of the form name=value&name=value")
	}
	for name, values := range query {
		if u.Scheme != "s3" {
			return nil, denied("%s:// takes no parameters; remove %q", u.Scheme, name)
		}
		switch name {
		case "region", "endpoint", "path_style":
		default:
			return nil, denied("unknown parameter %q; s3:// takes region, endpoint and path_style", name)
		}
		if len(values) != 1 || values[0] == "" {
			return nil, denied("parameter %q must be given once, with a value", name)
		}
	}
	return query, nil
}

func openS3(ctx context.Context, u *url.URL, query url.Values, o Options) (bucket.Bucket, error) {
	pathStyle := false
	if value := query.Get("path_style"); value != "" {
		var err error
		if pathStyle, err = strconv.ParseBool(value); err != nil {
			return nil, denied("path_style=%s; write true or false", value)
		}
	}
	endpoint := query.Get("endpoint")
	if endpoint != "" {
		e, err := url.Parse(endpoint)
		if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil {
			return nil, denied("endpoint=%s; write http://host:port or https://host", redacted(endpoint))
		}
	}
	return s3.Open(ctx, s3.Config{
		Bucket:    u.Host,
		Prefix:    strings.Trim(u.Path, "/"),
		Region:    query.Get("region"),
		Endpoint:  endpoint,
		PathStyle: pathStyle,
		Log:       o.Log,
	})
}

func openFile(u *url.URL, o Options) (bucket.Bucket, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return nil, denied("write file:/// and an absolute path, with three slashes")
	}
	if o.ReadOnly {
		return dir.OpenReadOnly(vfs.OS(), u.Path)
	}
	return dir.Open(vfs.OS(), u.Path)
}

func openMem(u *url.URL, o Options) (bucket.Bucket, error) {
	if !o.Memory {
		return nil, denied("mem:// loses everything when the process ends; say --memory if that is wanted")
	}
	if u.Host != "" || u.Path != "" {
		return nil, denied("mem:// has neither host nor path")
	}
	return mem.New(), nil
}

// refusal is an ErrDenied of this package. The store was not asked, so the message does not blame
// it.
type refusal string

func (r refusal) Error() string { return string(r) }

// Is makes a refusal an ErrDenied.
func (refusal) Is(target error) bool { return target == bucket.ErrDenied }

func denied(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// redacted returns the URL without a password that someone may have written into it or into its
// endpoint.
func redacted(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "(not a URL)"
	}
	u.User = nil
	if query, err := url.QueryUnescape(u.RawQuery); err != nil || strings.Contains(query, "@") {
		u.RawQuery = "…"
	}
	return u.String()
}
