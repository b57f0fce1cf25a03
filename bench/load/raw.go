package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
)

// rawAnswerMax bounds an answer. Metadata of 100,000 partitions is 3 MiB.
const rawAnswerMax = 256 << 20

// rawConn is one connection that one goroutine uses, with one request in flight at a time. It has
// no goroutine, channel or lock of its own, so that a measurement through it is the broker's time
// and two system calls.
type rawConn struct {
	conn        net.Conn
	forget      func() bool // stops watching for the context's end
	formatter   kmsg.RequestFormatter
	correlation int32
	out, buf    []byte // the request's frame, and room for the answer's frame
	in          []byte // the answer's frame without its length, inside buf
	versions    map[int16]kmsg.ApiVersionsResponseApiKey
}

// dialRaw connects. When the context ends, every read and write of the connection ends.
func dialRaw(ctx context.Context, addr string) (*rawConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &rawConn{conn: conn, formatter: *kmsg.NewRequestFormatter(kmsg.FormatterClientID("sluice-bench"))}
	c.forget = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return c, nil
}

// openRaw connects to the first seed that answers ApiVersions.
func openRaw(ctx context.Context, seeds []string) (*rawConn, error) {
	var errs []error
	for _, addr := range seeds {
		c, err := dialRaw(ctx, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := c.askVersions(); err != nil {
			c.close()
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		return c, nil
	}
	return nil, errors.Join(errs...)
}

func (c *rawConn) close() {
	c.forget()
	_ = c.conn.Close()
}

// askVersions is what every client asks first.
func (c *rawConn) askVersions() error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 3, "sluice-bench", "1"
	answer, err := c.ask(req)
	if err != nil {
		return err
	}
	resp := answer.(*kmsg.ApiVersionsResponse)
	if resp.ErrorCode != 0 {
		return answered("ApiVersions", resp.ErrorCode)
	}
	c.versions = make(map[int16]kmsg.ApiVersionsResponseApiKey, len(resp.ApiKeys))
	for _, k := range resp.ApiKeys {
		c.versions[k.ApiKey] = k
	}
	return nil
}

// serves reports whether the broker said that it serves this version.
func (c *rawConn) serves(key, version int16) bool {
	v, known := c.versions[key]
	return known && v.MinVersion <= version && version <= v.MaxVersion
}

// ask sends one request and decodes its answer.
func (c *rawConn) ask(req kmsg.Request) (kmsg.Response, error) {
	c.encode(req)
	if err := c.exchange(); err != nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return c.decode(req)
}

// encode writes a request's frame into c.out.
func (c *rawConn) encode(req kmsg.Request) {
	c.correlation++
	c.out = c.formatter.AppendRequest(c.out[:0], req, c.correlation)
}

// exchange writes the frame in c.out and reads the answer's frame into c.in.
func (c *rawConn) exchange() error {
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	return c.receive()
}

// receive reads one frame, in one system call if it comes in one piece. Nothing may follow the
// frame.
func (c *rawConn) receive() error {
	if c.buf == nil {
		c.buf = make([]byte, 4096)
	}
	got, want := 0, protocol.FrameLengthBytes
	for got < want {
		n, err := c.conn.Read(c.buf[got:])
		if got += n; err != nil && got < want {
			return noEOF(err, got)
		}
		if want == protocol.FrameLengthBytes && got >= want {
			length := binary.BigEndian.Uint32(c.buf)
			if length > rawAnswerMax {
				return fmt.Errorf("an answer of %d bytes: more than %d", length, rawAnswerMax)
			}
			want += int(length)
			c.buf = slices.Grow(c.buf[:got], max(0, want-got))
			c.buf = c.buf[:cap(c.buf)]
		}
	}
	if got > want {
		return fmt.Errorf("%d bytes after the answer", got-want)
	}
	c.in = c.buf[protocol.FrameLengthBytes:want]
	return nil
}

func noEOF(err error, got int) error {
	if errors.Is(err, io.EOF) && got > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decode reads the answer in c.in. The result aliases c.in until the next exchange.
func (c *rawConn) decode(req kmsg.Request) (kmsg.Response, error) {
	resp := req.ResponseKind()
	body, err := c.body(req, resp)
	if err != nil {
		return nil, err
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s: decode the answer: %w", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}

// body returns the answer without its header.
func (c *rawConn) body(req kmsg.Request, resp kmsg.Response) ([]byte, error) {
	name := kmsg.NameForKey(req.Key())
	if len(c.in) < 5 {
		return nil, fmt.Errorf("%s: an answer of %d bytes", name, len(c.in))
	}
	if id := int32(binary.BigEndian.Uint32(c.in)); id != c.correlation {
		return nil, fmt.Errorf("%s: the answer has correlation id %d, want %d", name, id, c.correlation)
	}
	if _, first := req.(*kmsg.ApiVersionsRequest); first || !resp.IsFlexible() {
		return c.in[4:], nil
	}
	if c.in[4] != 0 {
		return nil, fmt.Errorf("%s: tags in the answer's header", name)
	}
	return c.in[5:], nil
}

// answered makes an error from Kafka's error code in an answer.
func answered(what string, code int16) error {
	return fmt.Errorf("%s: %w", what, kerr.ErrorForCode(code))
}
