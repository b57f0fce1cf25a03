package broker

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

func noError(t *testing.T, err error) {
	t.Helper()
	check(t, err == nil, "%v", err)
}

func check(t *testing.T, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Fatalf(format, args...)
	}
}

// tcpPair returns both ends of a connection over the loopback.
func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	noError(t, err)
	t.Cleanup(func() { client.Close() })
	server, err = l.Accept()
	noError(t, err)
	t.Cleanup(func() { server.Close() })
	return client, server
}

// In whatever pieces the bytes arrive and are taken, they are the bytes that were sent. Bytes that
// fit the connection's own buffer are in it.
func TestInboundKeepsBytesAndOrder(t *testing.T) {
	for _, over := range []string{"tcp", "pipe"} { // a pipe has no file
		t.Run(over, func(t *testing.T) {
			client, server := net.Pipe()
			if over == "tcp" {
				client, server = tcpPair(t)
			}
			seed := rand.Uint64()
			t.Log("seed", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			sent := make([]byte, 4*mib)
			for i := range sent {
				sent[i] = byte(rng.Uint32())
			}
			cuts := rand.New(rand.NewPCG(seed, 2))
			go func() {
				for left := sent; len(left) > 0; {
					n := min(len(left), 1+cuts.IntN(1<<cuts.IntN(17)))
					if _, err := client.Write(left[:n]); err != nil {
						return
					}
					left = left[n:]
				}
				client.Close()
			}()
			in, got := newInbound(server), make([]byte, 0, len(sent))
			for len(got) < len(sent) {
				n := 1 + rng.IntN(min(inboundBytes, len(sent)-len(got)))
				b, err := in.peek(n)
				noError(t, err)
				got = append(got, b...)
				in.discard(n)
				body := make([]byte, min(rng.IntN(1<<rng.IntN(17)), len(sent)-len(got)))
				_, err = io.ReadFull(in, body)
				noError(t, err)
				got = append(got, body...)
				check(t, in.borrowed == nil || in.buffered() > 0, "an empty buffer is held")
			}
			check(t, bytes.Equal(sent, got), "other bytes came out")
			_, err := in.peek(1)
			check(t, errors.Is(err, io.EOF), "err is %v, want EOF", err)
		})
	}
}

// A connection that waits holds nothing but its own buffer, whether it is idle or in the middle of
// a prefix.
func TestInboundBorrowsNothingWhileItWaits(t *testing.T) {
	client, server := tcpPair(t)
	in := newInbound(server)
	_, err := client.Write(make([]byte, 2*kib))
	noError(t, err)
	_, err = in.peek(8)
	noError(t, err)
	in.discard(8)
	_, err = io.ReadFull(in, make([]byte, 2*kib-8-5)) // five bytes of the next prefix are left
	noError(t, err)
	noError(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err = in.peek(12)
	check(t, errors.Is(err, os.ErrDeadlineExceeded), "err is %v, want the deadline", err)
	check(t, in.borrowed == nil, "a buffer is held while nothing comes")
	check(t, in.buffered() == 5 && &in.own[0] == &in.left[0], "%d bytes are left, want 5 in the own ones", in.buffered())
}

// Bytes behind a request are seen, whether they came with the request, come later, or lie behind a
// body that was read on its own.
func TestInboundKnowsWhetherMoreIsThere(t *testing.T) {
	client, server := tcpPair(t)
	in := newInbound(server)
	send := func(n int) {
		_, err := client.Write(make([]byte, n))
		noError(t, err)
	}
	take := func(n int) {
		_, err := in.peek(4)
		noError(t, err)
		_, err = io.ReadFull(in, make([]byte, n))
		noError(t, err)
	}
	send(1000)
	take(1000)
	check(t, in.drained, "a read that came short does not tell")
	check(t, !in.mayHaveMore(), "something is seen where nothing is")
	send(1001)
	take(1000)
	check(t, in.mayHaveMore(), "what is behind is not seen")
	last := make([]byte, 1)
	_, err := io.ReadFull(in, last)
	noError(t, err)
	check(t, !in.mayHaveMore(), "something is seen where nothing is")
	send(borrowedBytes + 1)
	take(borrowedBytes) // this fills the buffer to the brim, so the socket has to be asked
	check(t, !in.drained, "a full read tells that nothing is behind it")
	check(t, in.mayHaveMore(), "what is behind is not seen")
	_, err = io.ReadFull(in, last)
	noError(t, err)
	check(t, !in.mayHaveMore(), "something is seen where nothing is")
}

// bytesAndEnd is a connection without a file. Its last read brings bytes and the end together, as
// crypto/tls's may.
type bytesAndEnd struct {
	net.Conn
	left []byte
}

func (c *bytesAndEnd) Read(p []byte) (int, error) {
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, io.EOF
}

func TestInbound_BytesBesideTheEnd(t *testing.T) {
	in := newInbound(&bytesAndEnd{left: []byte("the last request")})
	b, err := in.peek(16)
	check(t, err == nil && string(b) == "the last request", "%q, %v", b, err)
	in.discard(16)
	_, err = in.peek(1)
	check(t, errors.Is(err, io.EOF), "then %v, want the end", err)
}
