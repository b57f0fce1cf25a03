package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// acceptPause follows a failed accept (mostly for want of file descriptors). It doubles until
	// an accept succeeds.
	acceptPause    = 50 * time.Millisecond
	acceptPauseMax = time.Second
	// acceptLogEvery is the least time between two log lines about failed accepts.
	acceptLogEvery = 10 * time.Second
	// tlsLogEvery is the least time between two log lines about TLS clients of one listener: such
	// clients try again all the time.
	tlsLogEvery = time.Minute
)

// Listener is one of the addresses at which a broker answers. A client is told the endpoints of the
// listener at which it arrived (Node.Endpoints).
type Listener struct {
	net.Listener
	Name string // Kafka's name for the listener, such as PLAINTEXT
}

// Serve accepts connections from the listeners until ctx ends or a listener fails. Then it stops
// accepting, wakes long polls, finishes the requests in flight within StopTimeout, and closes every
// connection, idle ones at once. It returns nil, or the error of the listener that failed. It
// closes the listeners. A broker serves once.
func (b *Broker) Serve(ctx context.Context, listeners ...Listener) error {
	s := &server{b: b, conns: map[*conn]struct{}{}, perIP: map[netip.Addr]int{}, toldTLS: map[string]time.Time{}}
	stopAccepting := func() {
		b.beginStop(errStopped)
		for _, l := range listeners {
			_ = l.Close() // it wakes Accept; its error does not matter
		}
	}
	unhook := context.AfterFunc(ctx, stopAccepting)
	defer unhook()
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- s.acceptLoop(ctx, l) }()
	}
	err := <-ended
	stopAccepting()
	for range listeners[1:] { // no connection begins after stop has told all of them
		<-ended
	}
	s.stop()
	b.closeGroups()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("broker: %w", err)
}

// server is the state of one Serve: the set of its connections.
type server struct {
	b *Broker

	mu      sync.Mutex
	conns   map[*conn]struct{}
	perIP   map[netip.Addr]int
	toldTLS map[string]time.Time // time of the last line of tellTLS, by listener
}

func (s *server) acceptLoop(ctx context.Context, l Listener) error {
	wait := acceptPause
	var told time.Time
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = acceptPause
			s.start(nc, l.Name)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		default:
			if told.IsZero() || time.Since(told) >= acceptLogEvery {
				told = time.Now()
				s.b.logger.Warn(acceptFailed(err), "listener", l.Name, "err", err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
			wait = min(2*wait, acceptPauseMax)
		}
	}
}

// acceptFailed says what a failed accept means to clients, and, if known, what to do about it.
func acceptFailed(err error) string {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return "accept failed, clients wait: too few file descriptors; raise the limit (ulimit -n, LimitNOFILE=), or lower max.connections"
	}
	return "accept failed; trying again"
}

// start serves a connection in a goroutine of its own. If there are too many connections, it closes
// the new one at once.
func (s *server) start(nc net.Conn, listener string) {
	ip := remoteIP(nc)
	c := newConn(s.b, nc)
	c.listener = listener
	s.b.meter.accepted.Inc()
	limits := s.b.live.Load()
	if !s.add(c, ip, limits.connectionsMax, limits.connectionsPerIPMax) {
		s.b.meter.refused.Inc()
		s.b.logger.Warn("connection refused: limit reached", "remote", nc.RemoteAddr().String(),
			"connections_max", limits.connectionsMax, "connections_per_ip_max", limits.connectionsPerIPMax)
		_ = nc.Close() // the client sees the end; there is no answer to give
		return
	}
	open := s.b.meter.connections.WithLabelValues(listener)
	open.Inc()
	go func() {
		defer close(c.ended)
		defer open.Dec()
		defer s.remove(c, ip)
		if err := c.serve(); errors.Is(err, errTLS) {
			s.tellTLS(listener, nc.RemoteAddr())
		}
	}()
}

// tellTLS logs that a client wants TLS on a listener without it. The client's own errors rarely
// name the reason.
func (s *server) tellTLS(listener string, remote net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, told := s.toldTLS[listener]; told && time.Since(last) < tlsLogEvery {
		return
	}
	s.toldTLS[listener] = time.Now()
	s.b.logger.Warn("a client speaks TLS to a listener without TLS and was refused: set security.protocol=PLAINTEXT in the client",
		"listener", listener, "remote", remote.String())
}

func remoteIP(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a pipe in a test
	}
	return ap.Addr().Unmap()
}

func (s *server) add(c *conn, ip netip.Addr, most, mostPerIP int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= most || s.perIP[ip] >= mostPerIP {
		return false
	}
	s.conns[c] = struct{}{}
	s.perIP[ip]++
	return true
}

func (s *server) remove(c *conn, ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.perIP[ip]--; s.perIP[ip] == 0 {
		delete(s.perIP, ip)
	}
}

// stop ends all connections: gracefully until StopTimeout, then at once. A connection that is in a
// sync which hangs is then left to the log's Close.
func (s *server) stop() {
	all := s.all()
	for _, c := range all {
		c.stop()
	}
	hard := time.AfterFunc(s.b.cfg.StopTimeout, func() {
		s.b.cancel()
		for _, c := range all {
			c.fail(errStopped)
		}
	})
	defer hard.Stop()
	for _, c := range all {
		select {
		case <-c.ended:
		case <-s.b.ctx.Done():
			if c.fail(errStopped); !c.isLent() {
				<-c.ended
			}
		}
	}
	s.b.cancel()
}

// all returns the connections that exist. When it is called, nobody accepts any more.
func (s *server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}
