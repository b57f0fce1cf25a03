package limits

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn is one client. Its reader handles requests in turn. The reader answers what can be answered
// at once, with one write for several answers if several requests have arrived. What waits for the
// disk is answered by the WAL's committer, which keeps the order. While an answer of a connection
// waits there, the connection's other answers go the same way.
type conn struct {
	srv *server
	tcp net.Conn
	raw syscall.RawConn

	// The fields below belong to the reader.
	buf      []byte
	from, to int    // buf[from:to] has arrived and is not handled yet
	answers  []byte // not sent yet
	now      pending
	wake     chan struct{} // wakes a long poll; made by the first one

	waiting atomic.Int64 // number of answers that the committer is to send

	mu       sync.Mutex
	late     []byte // answers of the committer that are not sent yet
	lateDone int64  // their number
	draining bool   // a goroutine sends them, since the client did not accept them at once
	wrote    int    // the result of try
	try      func(fd uintptr) bool
}

func newConn(s *server, tcp net.Conn) (*conn, error) {
	raw, err := tcp.(*net.TCPConn).SyscallConn()
	c := &conn{srv: s, tcp: tcp, raw: raw, buf: make([]byte, readBytes)}
	c.try = func(fd uintptr) bool {
		// The reader notices an error, and so does drain.
		c.wrote, _ = syscall.Write(int(fd), c.late)
		return true
	}
	return c, err
}

func (c *conn) serve() error {
	for {
		b, f, err := c.next()
		if err != nil {
			return err
		}
		err = c.handle(b, f)
		if f != nil {
			f.release()
		}
		if err != nil {
			return err
		}
	}
}

var errMalformed = errors.New("malformed request")

// next returns a request. It is in the connection's buffer and valid until the next call, or, if it
// is larger, in a frame.
func (c *conn) next() ([]byte, *frame, error) {
	if err := c.fill(4); err != nil {
		return nil, nil, err
	}
	n := int(binary.BigEndian.Uint32(c.buf[c.from:]))
	if n < 8 || n > frameBytesMax {
		return nil, nil, fmt.Errorf("%w of %d bytes", errMalformed, n)
	}
	if 4+n > len(c.buf) {
		return c.nextLarge(n)
	}
	if err := c.fill(4 + n); err != nil {
		return nil, nil, err
	}
	b := c.buf[c.from+4 : c.from+4+n]
	c.from += 4 + n
	return b, nil, nil
}

// nextLarge reads the rest of a request directly into its frame.
func (c *conn) nextLarge(n int) ([]byte, *frame, error) {
	if err := c.flush(); err != nil {
		return nil, nil, err
	}
	f, err := c.srv.frames.get(n)
	if err != nil {
		return nil, nil, err
	}
	have := copy(f.b, c.buf[c.from+4:c.to])
	c.from, c.to = 0, 0
	if _, err := io.ReadFull(c.tcp, f.b[have:]); err != nil {
		f.release()
		return nil, nil, err
	}
	return f.b, f, nil
}

// fill waits until n bytes are in the buffer. Before it waits, it sends the answers that are ready.
func (c *conn) fill(n int) error {
	for c.to-c.from < n {
		if err := c.flush(); err != nil {
			return err
		}
		if c.from > 0 && (c.from == c.to || c.from+n > len(c.buf)) {
			c.to = copy(c.buf, c.buf[c.from:c.to])
			c.from = 0
		}
		m, err := c.tcp.Read(c.buf[c.to:])
		c.to += m
		if m == 0 && err != nil {
			if c.to > c.from && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

func (c *conn) flush() error {
	if len(c.answers) == 0 {
		return nil
	}
	_, err := c.tcp.Write(c.answers)
	c.answers = c.answers[:0]
	return err
}

// header is the part of each request before its body.
type header struct {
	key, version int16
	correlation  uint32
}

const (
	produceKey     = 0
	fetchKey       = 1
	apiVersionsKey = 18
)

func (c *conn) handle(b []byte, f *frame) error {
	h := header{int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:])), binary.BigEndian.Uint32(b[4:])}
	q := &cursor{b: b[8:]}
	q.nullableString(false) // client id
	flexible, known := h.flexible()
	if flexible {
		q.tags()
	}
	switch {
	case q.bad || !known:
		return fmt.Errorf("%w: api %d version %d", errMalformed, h.key, h.version)
	case h.key == produceKey && c.srv.wal == nil && c.srv.kind != Fetch:
		return c.produceNow(h, q)
	case h.key == produceKey:
		return c.produceKept(h, b, f)
	case h.key == fetchKey:
		return c.fetch(h, q.b)
	}
	return c.answerCold(h, q.b)
}

// flexible reports whether the header has tags, and whether the request is served at all.
func (h header) flexible() (flexible, known bool) {
	// Any version is known, since the answer lists the versions that we know.
	if h.key == apiVersionsKey {
		return h.version >= 3, true
	}
	for _, v := range versions {
		if v.key == h.key {
			return h.version >= v.flexible, h.version >= v.least && h.version <= v.most
		}
	}
	return false, false
}

// produceNow answers without keeping anything. It is for the null broker.
func (c *conn) produceNow(h header, q *cursor) error {
	c.now.answer = c.answers
	err := c.produce(h, q, &c.now)
	c.answers = c.now.answer
	return err
}

// produceKept keeps the request's bytes, for good or until they are durable.
func (c *conn) produceKept(h header, b []byte, f *frame) error {
	if f == nil { // the request is in the connection's buffer
		var err error
		if f, err = c.srv.frames.get(len(b)); err != nil {
			return err
		}
		defer f.release()
		copy(f.b, b)
	}
	q := &cursor{b: f.b[8:]}
	q.nullableString(false)
	if h.version >= produceFlexible {
		q.tags()
	}
	if c.srv.wal == nil {
		return c.produceNow(h, q)
	}
	p := newPending(c)
	if err := c.produce(h, q, p); err != nil {
		return err
	}
	f.retain()
	p.frame = f
	c.srv.wal.append(p)
	return nil
}

// reply sends an answer, after all answers that wait.
func (c *conn) reply(answer []byte) {
	if c.waiting.Load() == 0 {
		c.answers = append(c.answers, answer...)
		return
	}
	p := newPending(c)
	p.answer = append(p.answer, answer...)
	c.srv.wal.append(p)
}

// answerCold answers requests that are not about records.
func (c *conn) answerCold(h header, body []byte) error {
	req := kmsg.RequestForKey(h.key)
	version := h.version
	if h.key == apiVersionsKey && version > apiVersionsMost {
		version = 0 // an answer that every client understands
		body = nil
	}
	req.SetVersion(version)
	if version == h.version {
		if err := req.ReadFrom(body); err != nil {
			return fmt.Errorf("%w: api %d version %d: %w", errMalformed, h.key, h.version, err)
		}
	}
	resp := c.srv.cold(req, version != h.version)
	out := binary.BigEndian.AppendUint32(make([]byte, 4, 512), h.correlation)
	if resp.IsFlexible() && h.key != apiVersionsKey {
		out = append(out, 0)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	c.reply(out)
	return nil
}

// addLate adds the answer to a request that is durable now. It returns true if no other was waiting
// to be sent.
func (c *conn) addLate(answer []byte) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = append(c.late, answer...)
	c.lateDone++
	return c.lateDone == 1
}

// sendLate sends the late answers without waiting. A client that does not accept them at once gets
// a goroutine of its own.
func (c *conn) sendLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return
	}
	c.wrote = 0
	if len(c.late) > 0 {
		if err := c.raw.Write(c.try); err != nil {
			c.wrote = len(c.late) // the connection is closed, so nobody wants the answers
		}
	}
	if c.wrote = max(c.wrote, 0); c.wrote < len(c.late) {
		c.late = c.late[:copy(c.late, c.late[c.wrote:])]
		c.draining = true
		c.srv.draining.Go(c.drain)
		return
	}
	c.late = c.late[:0]
	c.waiting.Add(-c.lateDone)
	c.lateDone = 0
}

// drain sends late answers until there are none left.
func (c *conn) drain() {
	for {
		c.mu.Lock()
		out, done := c.late, c.lateDone
		if done == 0 {
			c.draining = false
			c.mu.Unlock()
			return
		}
		c.late, c.lateDone = nil, 0
		c.mu.Unlock()
		if _, err := c.tcp.Write(out); err != nil {
			_ = c.tcp.Close() // ends the reader
		}
		c.waiting.Add(-done)
	}
}
