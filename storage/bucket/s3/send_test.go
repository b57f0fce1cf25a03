package s3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
)

// countingConn counts the bytes that net/http lets the connection read from the body itself.
type countingConn struct {
	conn
	bytes *atomic.Int64
}

func (c countingConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.conn.ReadFrom(r)
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*sendBody); ok {
			c.bytes.Add(n)
		}
	}
	return n, err
}

// TestSentFromWhereItLies: a body goes from its parts into the socket, except for what shares
// net/http's buffer with the header. This holds with today's SDK and net/http. The body arrives
// unchanged.
func TestSentFromWhereItLies(t *testing.T) {
	var got []byte
	b := serve(t, Config{}, func(_ http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) })
	var direct atomic.Int64
	dialOurs := b.transport.DialContext
	b.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialOurs(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return countingConn{c.(conn), &direct}, nil
	}
	var parts [][]byte
	for _, size := range []int{64, 100, 70_000, 0, 1 << 20, 5, 3 << 20, 900, 56} {
		part := make([]byte, size)
		_, _ = rand.Read(part) // never fails
		parts = append(parts, part)
	}
	for range 1500 { // more than one writev takes
		parts = append(parts, []byte("abc"))
	}
	if err := b.Create(t.Context(), "key", bucket.NewBody(parts...)); err != nil {
		t.Fatal(err)
	}
	whole := slices.Concat(parts...)
	if !bytes.Equal(got, whole) {
		t.Errorf("%d bytes arrived, not those %d that were sent", len(got), len(whole))
	}
	if least := int64(len(whole) - b.transport.WriteBufferSize); direct.Load() < least {
		t.Errorf("%d of %d bytes went without a copy, want at least %d", direct.Load(), len(whole), least)
	}
}

// TestAnsweredWhileSending: a store may refuse before it has read the body, and then read no more
// of it. Create returns the refusal, and the parts belong to the caller again.
func TestAnsweredWhileSending(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			fmt.Fprint(c, "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
			<-done // without a look at the body
		}
	}()
	b := connect(t, Config{Endpoint: "http://" + l.Addr().String()})
	part := make([]byte, 12<<20) // more than the sockets buffer
	isOnly(t, b.Create(t.Context(), "key", bucket.NewBody(part)), bucket.ErrExists)
	copy(part, bytes.Repeat([]byte{0xEE}, len(part))) // -race finds anything that still reads them
}
