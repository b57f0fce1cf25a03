package broker

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// BenchmarkWriteVector writes an answer of 8 MiB to a socket whose other end reads. All batches
// have one size and lie apart in memory.
func BenchmarkWriteVector(b *testing.B) {
	for _, size := range []int{170, 500, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 64 << 10} {
		buffers := scattered(size, 8*mib)
		for _, way := range []struct {
			name  string
			write func(net.Conn, [][]byte) (int, error)
		}{{"joined", writeVector}, {"plain", writePlain}} {
			b.Run(fmt.Sprintf("batch=%d/%s", size, way.name), func(b *testing.B) {
				nc := drained(b)
				b.SetBytes(8 * mib)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := way.write(nc, buffers); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func writePlain(nc net.Conn, buffers [][]byte) (int, error) {
	out := net.Buffers(append([][]byte(nil), buffers...))
	n, err := out.WriteTo(nc)
	return int(n), err
}

// scattered returns batches that do not lie side by side.
func scattered(size, total int) (buffers [][]byte) {
	for n := 0; n < total; n += size {
		b := make([]byte, size)
		buffers = append(buffers, b[:size:size])
	}
	return buffers
}

// drained returns a connection whose other end reads all bytes and drops them.
func drained(tb testing.TB) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err == nil {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{nc}, make([]byte, mib))
		}
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close(); _ = l.Close(); <-done })
	return nc
}
