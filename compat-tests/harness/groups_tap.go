package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// Tap stands between one member of a group and the broker, and records what the two say about the
// group, whatever client the member is. It replaces the broker's addresses in answers by its own,
// so that no connection bypasses it. It can hold back what is sent (Freeze) and cut the
// connections.
type Tap struct {
	Addr string

	t        testing.TB
	broker   string
	wire     *Wire
	listener net.Listener
	work     sync.WaitGroup
	reader   tapReader

	mu     sync.Mutex
	conns  map[net.Conn]bool
	thaw   chan struct{} // closed while nothing is held back
	closed bool
}

// Wire is what all taps of one broker share: the history, and channels to wait for requests.
type Wire struct {
	H *history.Groups

	mu     sync.Mutex
	awaits map[int16][]chan struct{}
}

// NewWire makes a wire that records into h.
func NewWire(h *history.Groups) *Wire { return &Wire{H: h, awaits: make(map[int16][]chan struct{})} }

// Next returns a channel that closes when a tap has just handed the next request of an API to the
// broker.
func (w *Wire) Next(key kmsg.Key) <-chan struct{} {
	ch := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaits[key.Int16()] = append(w.awaits[key.Int16()], ch)
	return ch
}

func (w *Wire) passed(key int16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.awaits[key] {
		close(ch)
	}
	delete(w.awaits, key)
}

// NewTap starts a tap for a member of the group. It ends with the test.
func NewTap(t testing.TB, w *Wire, broker, group string) *Tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	close(open)
	p := &Tap{Addr: l.Addr().String(), t: t, broker: broker, wire: w, listener: l, conns: make(map[net.Conn]bool), thaw: open}
	p.reader = tapReader{h: w.H, group: group, names: make(map[[16]byte]string), from: make(map[fetchPlace]int64)}
	p.work.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

// Close ends all connections for good.
func (p *Tap) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.Thaw()
	p.Cut()
	p.work.Wait()
}

// Cut closes the connections that are open.
func (p *Tap) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Freeze holds everything back, in both directions, until Thaw. The member and the broker look
// paused to each other.
func (p *Tap) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thaw:
		p.thaw = make(chan struct{})
	default:
	}
}

// Thaw lets everything pass.
func (p *Tap) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thaw:
	default:
		close(p.thaw)
	}
}

func (p *Tap) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.thaw
}

func (p *Tap) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(client) })
	}
}

// keep remembers a connection for Cut. It returns false if the tap is closed already.
func (p *Tap) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.closed
}

func (p *Tap) forget(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// tapConn is a connection of the member, and the connection to the broker behind it.
type tapConn struct {
	*Tap
	client, broker net.Conn

	mu      sync.Mutex
	pending map[int32]*exchange
}

// exchange is a request that is not answered yet.
type exchange struct {
	req     kmsg.Request
	noted   noted
	version int16
}

func (p *Tap) serve(client net.Conn) {
	defer p.forget(client)
	broker, err := net.Dial("tcp", p.broker)
	if err != nil {
		return // the broker is away: the member sees its connection closed
	}
	defer p.forget(broker)
	if !p.keep(client) || !p.keep(broker) {
		return
	}
	c := &tapConn{Tap: p, client: client, broker: broker, pending: make(map[int32]*exchange)}
	p.work.Go(func() {
		c.check(c.requests())
		client.Close()
		broker.Close()
	})
	c.check(c.answers())
}

// check ends the test if the tap cannot read some bytes, since the history would not be complete.
func (c *tapConn) check(err error) {
	if errors.Is(err, errTap) {
		c.t.Errorf("tap of group %s: %v", c.reader.group, err)
	}
}

// errTap is a failure of the tap itself, as opposed to a connection that ended.
var errTap = errors.New("tap")

// requests hands requests on to the broker.
func (c *tapConn) requests() error {
	for {
		frame, err := readFrame(c.client)
		if err != nil {
			return err
		}
		<-c.gate()
		key, err := c.note(frame[4:])
		if err != nil {
			return err
		}
		if _, err := c.broker.Write(frame); err != nil {
			return err
		}
		c.wire.passed(key)
	}
}

// note decodes a request of interest and remembers it before it is sent.
func (c *tapConn) note(body []byte) (key int16, err error) {
	if len(body) < 8 {
		return 0, fmt.Errorf("%w: a request of %d bytes", errTap, len(body))
	}
	key = int16(binary.BigEndian.Uint16(body))
	version := int16(binary.BigEndian.Uint16(body[2:]))
	correlation := int32(binary.BigEndian.Uint32(body[4:]))
	if !interesting(key) {
		return key, nil
	}
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	rest, err := afterHeader(body[8:], req.IsFlexible())
	if err != nil {
		return 0, err
	}
	if err := req.ReadFrom(rest); err != nil {
		return 0, fmt.Errorf("%w: %s version %d: %w", errTap, kmsg.NameForKey(key), version, err)
	}
	x := &exchange{req: req, version: version, noted: c.reader.asked(req)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending[correlation] = x
	return key, nil
}

// afterHeader skips the client id, and the empty section of tags of a flexible request.
func afterHeader(b []byte, flexible bool) ([]byte, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: header ends early", errTap)
	}
	n := max(0, int(int16(binary.BigEndian.Uint16(b))))
	b = b[2:]
	if flexible {
		n++
	}
	if len(b) < n || flexible && b[n-1] != 0 {
		return nil, fmt.Errorf("%w: header ends early or has tags", errTap)
	}
	return b[n:], nil
}

// answers hands answers on to the member. When the broker dies, the outcome of unanswered requests
// is in doubt.
func (c *tapConn) answers() error {
	for {
		frame, err := readFrame(c.broker)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
				c.abandon()
			}
			return err
		}
		<-c.gate() // an answer that never reaches the member is not recorded
		frame, err = c.answer(frame)
		if err != nil {
			return err
		}
		if _, err := c.client.Write(frame); err != nil {
			return err
		}
	}
}

// abandon is called when the broker has closed its end of the connection. In these tests only its
// death does that, since its time limits are long. It will give no answer any more.
func (c *tapConn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.pending {
		c.reader.abandoned(x.noted)
	}
	clear(c.pending)
}

// answer records an answer and replaces addresses in it by the tap's.
func (c *tapConn) answer(frame []byte) ([]byte, error) {
	if len(frame) < 8 {
		return nil, fmt.Errorf("%w: an answer of %d bytes", errTap, len(frame))
	}
	correlation := int32(binary.BigEndian.Uint32(frame[4:]))
	c.mu.Lock()
	x := c.pending[correlation]
	delete(c.pending, correlation)
	c.mu.Unlock()
	if x == nil {
		return frame, nil
	}
	resp := x.req.ResponseKind()
	resp.SetVersion(x.version)
	header := 8
	if resp.IsFlexible() {
		header++
	}
	if len(frame) < header {
		return nil, fmt.Errorf("%w: an answer of %d bytes", errTap, len(frame))
	}
	if err := resp.ReadFrom(frame[header:]); err != nil {
		return nil, fmt.Errorf("%w: answer to %s version %d: %w", errTap, kmsg.NameForKey(x.req.Key()), x.version, err)
	}
	c.reader.answered(x.noted, resp)
	if !c.redirect(resp) {
		return frame, nil
	}
	out := resp.AppendTo(append([]byte(nil), frame[:header]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out, nil
}

// redirect puts the tap in the place of the broker. It returns false if the answer has no
// addresses.
func (p *Tap) redirect(resp kmsg.Response) bool {
	host, portText, _ := net.SplitHostPort(p.Addr)
	n, _ := strconv.Atoi(portText)
	port := int32(n)
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = host, port
		}
	case *kmsg.DescribeClusterResponse:
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = host, port
		}
	// The answer names nodes beside an error about a leader epoch that a restart has raised.
	case *kmsg.FetchResponse:
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = host, port
		}
		return len(r.Brokers) > 0
	case *kmsg.FindCoordinatorResponse:
		if r.Port > 0 {
			r.Host, r.Port = host, port
		}
		for i := range r.Coordinators {
			if c := &r.Coordinators[i]; c.Port > 0 {
				c.Host, c.Port = host, port
			}
		}
	default:
		return false
	}
	return true
}

// readFrame reads a request or an answer, including its length.
func readFrame(c net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > responseBytesMax {
		return nil, fmt.Errorf("%w: a frame of %d bytes", errTap, n)
	}
	frame := make([]byte, 4+n)
	copy(frame, size[:])
	_, err := io.ReadFull(c, frame[4:])
	return frame, err
}
