package s3

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/sluicemq/sluice/storage/bucket"
)

// This file sends bodies. Left alone, the SDK and net/http read a body into a small buffer and
// write that, 32 KiB at a time: that is a copy of everything and 32,768 calls per GiB. Without TLS
// the parts can go into the socket from where they lie, which takes 0.33 CPU s per GiB instead of
// 0.42.
//
// To that end sender gives net/http our reader instead of the SDK's wrapper around it. net/http
// passes the reader to the connection (as it does with files, for sendfile), and conn writes the
// vectors. With TLS the same reader is read like any other, because the bytes have to be encrypted
// into a buffer anyway.

// bodyKey is the context's key for the reader of the request's body.
type bodyKey struct{}

// withBody makes a reader that sender will find.
func withBody(ctx context.Context, body bucket.Body) (context.Context, *bucket.BodyReader) {
	reader := bucket.NewBodyReader(body)
	return context.WithValue(ctx, bodyKey{}, reader), reader
}

// sender is the transport for the bodies that withBody announced.
type sender struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (s sender) RoundTrip(r *http.Request) (*http.Response, error) {
	if reader, ok := r.Context().Value(bodyKey{}).(*bucket.BodyReader); ok && r.Body != nil {
		closer := r.Body
		r = r.WithContext(r.Context()) // a copy: a RoundTripper must not change its request
		r.Body = &sendBody{reader, closer}
	}
	return s.Transport.RoundTrip(r)
}

// sendBody is a body that conn can send without reading it.
type sendBody struct {
	*bucket.BodyReader
	io.Closer
}

// conn is a connection that sends the parts of a sendBody from where they lie.
type conn struct{ *net.TCPConn }

// dial makes conns. A TLS connection lies on top of one and never calls its ReadFrom.
func dial(dialer *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if tcp, ok := c.(*net.TCPConn); ok {
			return conn{tcp}, err
		}
		return c, err
	}
}

// ReadFrom implements io.ReaderFrom. net/http limits the reader to the body's length.
func (c conn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return c.TCPConn.ReadFrom(r)
	}
	body, ok := limited.R.(*sendBody)
	if !ok {
		return c.TCPConn.ReadFrom(r)
	}
	n, err := body.Send(limited.N, func(bufs [][]byte) (int64, error) {
		vectors := net.Buffers(bufs)
		return vectors.WriteTo(c.TCPConn)
	})
	limited.N -= n
	return n, err
}
