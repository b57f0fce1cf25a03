// This file serves one connection. The broker reads its requests one after another, and answers
// them in the same order (docs/kafka-behaviour.md, E20).
//
//  1. The reader waits until fewer than 64 requests and 32 MiB are unanswered.
//  2. The reader takes one complete frame off the socket. It looks at the key and the version
//     first, reserves the bytes in the broker's budget, and then reads them under a deadline.
//  3. The reader places a Produce request at once and puts it into the queue, so consecutive
//     Produce requests overlap. If the queue was empty and the peer has sent nothing more, the
//     reader lends itself to the log for the sync and answers on the spot. The alarm makes sure
//     that a sync which hangs does not hold up REQUEST_TIMED_OUT.
//  4. Any other request waits until the queue is empty: then all requests before it are published
//     and answered. It runs in the reader.
//  5. The first Produce that has to wait starts the writer. The writer takes the settled head of
//     the queue and writes its answers.
//  6. While the log asks for it, an answer to Produce mutes the connection: the answer is sent at
//     once and says for how long, and the reader begins no further frame until then (KIP-219).
//
// So reader and writer never write at the same time: the reader writes while the queue is empty,
// and otherwise the writer does.

package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sluicemq/sluice/internal/unzeroed"
	"github.com/sluicemq/sluice/protocol"
)

const (
	unansweredMax      = 64       // E20
	unansweredBytesMax = 32 * mib // E20

	// firstReadBytes is how much memory a frame gets before its bytes arrive, out of what it has
	// reserved in the budget. Memory that is not zeroed is hardly touched before the bytes come;
	// with a smaller first piece the bytes that were read would have to be copied.
	firstReadBytes = 32 * mib
	// lentMax is how long an answer may refer to batches where the log has them. A small batch
	// keeps the whole frame or block around it alive, even after that has left the hot tail or the
	// cache. What a peer has not taken by then is copied.
	lentMax = 250 * time.Millisecond
	// transferBytesPerSecond is the slowest rate at which a peer may send or receive, in addition
	// to StallTimeout.
	transferBytesPerSecond = 512 * kib
)

var (
	errBadFrame      = errors.New("bad frame")
	errTLS           = errors.New("the client speaks TLS")
	errUnsupported   = errors.New("unsupported request")
	errSilentFailure = errors.New("a produce request with acks=0 failed")
)

type conn struct {
	b        *Broker
	nc       net.Conn
	listener string   // name of the listener that accepted the connection
	in       *inbound // belongs to the reader
	behind   bool     // used only by the reader: the last Fetch needed the bucket

	writers sync.WaitGroup
	ended   chan struct{} // closed when nothing of the connection is left

	mu         sync.Mutex
	changed    sync.Cond      // uses mu; signals a change of any field below
	queue      []*produceCall // placed calls, in order; each stays until its answer is written
	queueBytes int
	hasWriter  bool
	lent       bool        // the reader is with the log, which may take as long as the disk does
	alarm      *time.Timer // wakes the writer, or starts it, when the time of the head is over
	mutedUntil time.Time   // begin no frame before
	stopping   bool        // read no further request
	err        error       // set once: the connection can no longer be used
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{b: b, nc: nc, in: newInbound(nc), ended: make(chan struct{})}
	c.changed.L = &c.mu
	return c
}

// serve reads until the peer leaves, misbehaves or idles too long, or until the broker stops. It
// returns which of these it was.
func (c *conn) serve() error {
	err := c.readLoop()
	if c.isStopping() {
		err = errors.Join(errStopped, c.drain()) // answer the requests that were placed
	}
	c.fail(err)
	c.writers.Wait()
	if !errors.Is(err, io.EOF) && !errors.Is(err, errStopped) {
		c.b.meter.failed.Inc()
		c.b.logger.Debug("connection closed", "remote", c.nc.RemoteAddr().String(), "err", err)
	}
	return err
}

// fail makes the connection useless and wakes everybody. A call that is still in the queue loses
// its answer, but still takes effect.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	if c.err == nil {
		c.err = net.ErrClosed
	}
	_ = c.nc.Close() // nothing can be done about its error
	for _, p := range c.queue {
		p.abandoned = true // the writer may be writing its answer
		p.release()
	}
	c.queue = nil
	if c.alarm != nil {
		c.alarm.Stop()
	}
	c.changed.Broadcast()
}

// stop makes the reader end before its next request.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
	c.changed.Broadcast()
}

// isLent reports whether the reader is with the log. A connection that has failed no longer becomes
// lent.
func (c *conn) isLent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lent
}

func (c *conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping && c.err == nil
}

func (c *conn) readLoop() error {
	for {
		if err := c.waitForRoom(); err != nil {
			return err
		}
		f, err := c.readFrame()
		if err != nil {
			return err
		}
		if err := c.handle(f); err != nil {
			return err
		}
	}
}

// waitForRoom stops reading while too much is unanswered (E20).
func (c *conn) waitForRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && !c.stopping && (len(c.queue) >= unansweredMax || c.queueBytes >= unansweredBytesMax) {
		c.changed.Wait()
	}
	return c.stateLocked()
}

// drain returns when everything before has been answered.
func (c *conn) drain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.queue) > 0 {
		c.changed.Wait()
	}
	return c.err
}

func (c *conn) stateLocked() error {
	if c.err == nil && c.stopping {
		return errStopped
	}
	return c.err
}

// frame is the bytes of one request and the share of a budget that they hold.
type frame struct {
	row    *api
	header protocol.RequestHeader // key, version and correlation id
	bytes  []byte
	held   share     // share of a budget that the bytes hold
	began  time.Time // when its last byte was read
}

// readFrame reads one request. It reserves the bytes in a budget; the caller releases them.
func (c *conn) readFrame() (*frame, error) {
	prefix, err := c.peekPrefix()
	if err != nil {
		return nil, err
	}
	if err := c.waitUnmuted(); err != nil {
		return nil, err
	}
	if beginsTLS(prefix) {
		return nil, errTLS
	}
	size := int(int32(binary.BigEndian.Uint32(prefix)))
	header, err := protocol.ParseRequestPrefix(prefix[protocol.FrameLengthBytes:])
	if err != nil {
		return nil, err
	}
	row, err := lookup(header.Key, header.Version)
	if err != nil {
		return nil, err
	}
	if limit := c.b.frameBytesMax(row); size < protocol.RequestPrefixBytes || size > limit {
		return nil, fmt.Errorf("%w: %s of %d bytes, limit %d", errBadFrame, row.name, size, limit)
	}
	f := &frame{row: row, header: header}
	if of := c.b.frames(row, size); of != nil {
		if f.held, err = of.reserve(c.b.stopping, int64(size)); err != nil {
			return nil, err
		}
	}
	if f.bytes, err = c.readBody(size); err != nil {
		f.held.release()
		return nil, fmt.Errorf("%w: %s: %w", errBadFrame, row.name, err)
	}
	f.began = time.Now()
	c.b.meter.came(f)
	return f, nil
}

// beginsTLS reports whether the bytes begin a TLS handshake record (RFC 8446, 5.1). As the length
// of a Kafka request they would be 369 MB or more, above the limit of every API.
func beginsTLS(b []byte) bool { return b[0] == 22 && b[1] == 3 }

// peekPrefix waits for a request to begin, as long as a connection may idle.
func (c *conn) peekPrefix() ([]byte, error) {
	const n = protocol.FrameLengthBytes + protocol.RequestPrefixBytes
	for {
		if err := c.setReadDeadline(c.b.cfg.IdleTimeout); err != nil {
			return nil, err
		}
		prefix, err := c.in.peek(n)
		if err == nil {
			return prefix, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !c.silenceIsOurs() {
			return nil, err
		}
	}
}

// silenceIsOurs reports whether the broker is the reason for the peer's silence: the peer waits for
// an answer, or was told not long ago to wait.
func (c *conn) silenceIsOurs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) > 0 || c.stopping || time.Since(c.mutedUntil) < c.b.cfg.IdleTimeout
}

// muteMax is the longest time that mutes may add up to.
const muteMax = time.Second

// mute makes the reader begin no further frame for a while, and returns the whole time that is
// left. Mutes add up, because each answer stands for bytes of its own, also for requests that were
// read before the mute began. The time that one answer asks for is never shortened.
func (c *conn) mute(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	left := max(0, c.mutedUntil.Sub(now))
	left = max(left, d, min(left+d, muteMax))
	c.mutedUntil = now.Add(left)
	return left
}

// waitUnmuted waits until the connection may be read again, or has to end.
func (c *conn) waitUnmuted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && !c.stopping {
		left := time.Until(c.mutedUntil)
		if left <= 0 {
			break
		}
		timer := time.AfterFunc(left, c.wake)
		c.changed.Wait()
		timer.Stop()
	}
	return c.stateLocked()
}

func (c *conn) readBody(size int) ([]byte, error) {
	c.in.discard(protocol.FrameLengthBytes)
	if c.in.buffered() < size {
		if err := c.setReadDeadline(c.b.cfg.StallTimeout + transferTime(size)); err != nil {
			return nil, err
		}
	}
	b := unzeroed.Make(min(size, firstReadBytes))
	if _, err := io.ReadFull(c.in, b); err != nil {
		return nil, err
	}
	if size > len(b) {
		first := b
		b = unzeroed.Make(size)
		if _, err := io.ReadFull(c.in, b[copy(b, first):]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func transferTime(size int) time.Duration {
	return time.Duration(size) * time.Second / transferBytesPerSecond
}

// setReadDeadline does not undo the deadline by which stop wakes the reader.
func (c *conn) setReadDeadline(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.stateLocked(); err != nil {
		return err
	}
	return c.nc.SetReadDeadline(time.Now().Add(d))
}

// handle takes over a frame and its reservation.
func (c *conn) handle(f *frame) error {
	call, err := c.b.decode(f)
	if err != nil {
		f.held.release()
		return err
	}
	call.conn = c
	if !f.row.early {
		if err := c.b.waitOpened(); err != nil {
			call.release()
			return err
		}
	}
	if f.row.place != nil {
		return c.place(call)
	}
	defer call.release()
	if err := c.drain(); err != nil {
		return err
	}
	buffers, bytes, err := f.row.handle(c.b, c.b.ctx, call)
	if err != nil {
		return err
	}
	err = c.write(buffers, bytes)
	c.b.meter.answered(call, bytes)
	return err
}

// untilGone returns a context that ends when the peer leaves or the broker stops. It is for a
// handler that may wait for minutes. The handler runs in the reader, so nothing else reads
// meanwhile. It calls done before it returns.
func (c *conn) untilGone(parent context.Context) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(parent)
	if err := c.forgetReadDeadline(); err != nil {
		cancel(err)
		return ctx, func() {}
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		cancel(c.watchPeer(over))
	}()
	return ctx, func() {
		close(over)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
		<-ended
	}
}

func (c *conn) forgetReadDeadline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.stateLocked(); err != nil {
		return err
	}
	return c.nc.SetReadDeadline(time.Time{})
}

// watchPeer returns when the peer has left, the broker stops, or over is closed. What the peer
// sends meanwhile stays in the buffer. Once the buffer is full, the peer's leaving is noticed only
// later.
func (c *conn) watchPeer(over <-chan struct{}) error {
	for c.in.buffered() < inboundBytes {
		if _, err := c.in.peek(c.in.buffered() + 1); err != nil {
			return err
		}
	}
	select {
	case <-over:
		return nil
	case <-c.b.stopping.Done():
		return errStopped
	}
}

// place puts a Produce request into the queue and hands it to the log. If the request is lent, the
// reader answers it, unless its time is over before.
func (c *conn) place(call *call) error {
	p := call.row.place(c.b, call)
	p.conn = c
	// From here on the connection may fail at any moment, and then it releases every call in its
	// queue.
	p.holders.Add(1)
	defer p.release()
	if err := c.enqueue(p, !c.in.mayHaveMore()); err != nil {
		p.release()
		return err
	}
	p.place(c.b)
	c.mu.Lock()
	c.lent = false
	if c.err != nil {
		c.mu.Unlock()
		return c.err // fail has released it
	}
	if p.lent && p.settled && !p.timedOut {
		// Nothing was before it, and only the reader adds calls.
		c.queue, c.queueBytes = slices.Delete(c.queue, 0, 1), 0
		c.mu.Unlock()
		defer p.release()
		return c.answer(p)
	}
	p.lent = false
	c.startWriterLocked()
	if p.settled { // otherwise its outcome wakes the writer, or the alarm does
		c.changed.Broadcast()
	}
	c.mu.Unlock()
	return nil
}

// enqueue puts a call at the end of the queue. The call is lent if it may be and the queue was
// empty. In that case, lent or not, enqueue also sets the alarm for the call, because placing it
// may hang with the disk. For a call that becomes the head later, the writer sets the alarm.
func (c *conn) enqueue(p *produceCall, mayLend bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	isHead := len(c.queue) == 0
	p.lent = mayLend && isHead
	c.lent = p.lent
	c.queue = append(c.queue, p)
	c.queueBytes += p.bytes
	if isHead && !p.deadline.IsZero() {
		c.setAlarmLocked(time.Until(p.deadline))
	}
	return nil
}

func (c *conn) startWriterLocked() {
	if !c.hasWriter {
		c.hasWriter = true
		c.writers.Go(c.writeLoop)
	}
}

func (c *conn) setAlarmLocked(d time.Duration) {
	if c.alarm == nil {
		c.alarm = time.AfterFunc(d, c.overdue)
		return
	}
	c.alarm.Reset(d)
}

// overdue is called when the time of the head may be over.
func (c *conn) overdue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && len(c.queue) > 0 {
		c.startWriterLocked()
	}
	c.changed.Broadcast()
}

func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.Broadcast()
}

// answer writes the answers of settled calls in one go. The mute begins before they leave, so that
// the reader cannot begin a frame in between. It holds back a producer with acks=0 like any other.
func (c *conn) answer(calls ...*produceCall) error {
	bytes := 0
	for _, p := range calls {
		bytes += p.bytes
	}
	throttle := c.b.log.Throttle(int64(bytes))
	if throttle > 0 {
		c.b.meter.throttled(throttle)
		throttle = c.mute(throttle)
	}
	var out []byte
	for _, p := range calls {
		if p.acks != 0 {
			out = p.appendAnswer(out, throttle)
			continue
		}
		if p.failed() {
			// No byte is ever answered to acks=0. The client learns of the failure by the end of
			// the connection.
			return errors.Join(errSilentFailure, c.write([][]byte{out}, len(out)))
		}
	}
	err := c.write([][]byte{out}, len(out))
	for _, p := range calls {
		c.b.meter.answered(p.call, len(out)/len(calls))
	}
	return err
}

func (c *conn) write(buffers [][]byte, bytes int) error {
	if bytes == 0 {
		return nil
	}
	deadline := time.Now().Add(c.b.cfg.StallTimeout + transferTime(bytes))
	if len(buffers) == 1 {
		return c.writeBefore(deadline, buffers[0])
	}
	if err := c.nc.SetWriteDeadline(earlier(deadline, time.Now().Add(lentMax))); err != nil {
		return err
	}
	sent, err := writeVector(c.nc, buffers)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return c.writeBefore(deadline, takeRest(buffers, sent, bytes))
}

func (c *conn) writeBefore(deadline time.Time, b []byte) error {
	if err := c.nc.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// writeLoop answers the calls that the reader has queued, until the connection ends.
func (c *conn) writeLoop() {
	for {
		calls := c.nextSettled()
		if calls == nil {
			return
		}
		err := c.answer(calls...)
		c.pop(calls)
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// nextSettled waits for the head of the queue and returns all calls that can be answered now. It
// returns nil when the connection has ended.
func (c *conn) nextSettled() []*produceCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		n := 0
		for n < len(c.queue) && c.settledLocked(c.queue[n]) {
			n++
		}
		if n > 0 {
			return slices.Clone(c.queue[:n])
		}
		c.changed.Wait()
	}
	return nil
}

// settledLocked reports whether a call can be answered: its outcome is known, or its time is over.
// Only the time of the head counts, because answers leave in order. The alarm is set for the head.
func (c *conn) settledLocked(p *produceCall) bool {
	if p.settled && !p.lent {
		return true
	}
	if p.settled || p.deadline.IsZero() {
		return false
	}
	left := time.Until(p.deadline)
	if left > 0 {
		c.setAlarmLocked(left)
		return false
	}
	p.timedOut = true
	return true
}

func (c *conn) pop(calls []*produceCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return // fail has released them
	}
	for _, p := range calls {
		c.queueBytes -= p.bytes
		p.release()
	}
	c.queue = slices.Delete(c.queue, 0, len(calls))
	c.changed.Broadcast()
}
