package harness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Fault is what a Proxy does to its clients.
type Fault int

// The faults of a Proxy.
const (
	Pass        Fault = iota // passes bytes through
	Refuse                   // nobody listens on the port
	Hang                     // accepts, and never answers
	Unavailable              // answers every request 503
)

func (f Fault) String() string { return [...]string{"pass", "refuse", "hang", "503"}[f] }

// Proxy stands before a server and can make it unavailable. Its port stays the same.
type Proxy struct {
	Addr string

	t       testing.TB
	backend string
	work    sync.WaitGroup

	mu       sync.Mutex
	fault    Fault
	listener net.Listener // nil while the proxy refuses connections
	conns    map[net.Conn]bool
}

// NewProxy starts a proxy that passes everything to the backend.
func NewProxy(t testing.TB, backend string) *Proxy {
	t.Helper()
	p := &Proxy{Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)), t: t, backend: backend, fault: Refuse, conns: make(map[net.Conn]bool)}
	p.Set(Pass)
	t.Cleanup(func() {
		p.Set(Refuse)
		p.work.Wait()
	})
	return p
}

// Set changes the fault. Open connections are closed, as they would be if the server went away.
func (p *Proxy) Set(f Fault) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
	if f == Refuse {
		if p.listener != nil {
			p.listener.Close()
			p.listener = nil
		}
		return
	}
	if p.listener != nil {
		return
	}
	l, err := net.Listen("tcp", p.Addr)
	if err != nil {
		p.t.Fatalf("proxy: listen again: %v", err)
	}
	p.listener = l
	p.work.Go(func() { p.accept(l) })
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed by Set
		}
		if fault, ok := p.admit(c); ok {
			p.work.Go(func() { p.serve(c, fault) })
		}
	}
}

// admit remembers a connection so that the next Set can close it, and returns the fault to apply.
func (p *Proxy) admit(c net.Conn) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == Refuse {
		c.Close()
		return p.fault, false
	}
	p.conns[c] = true
	return p.fault, true
}

func (p *Proxy) serve(c net.Conn, f Fault) {
	defer c.Close()
	switch f {
	case Pass:
		p.pass(c)
	case Hang:
		// It keeps reading until it is closed, so that the client believes in progress.
		_, _ = io.Copy(io.Discard, c)
	case Unavailable:
		unavailable(c)
	}
}

func (p *Proxy) pass(c net.Conn) {
	b, err := net.Dial("tcp", p.backend)
	if err != nil {
		return // the client sees its connection end
	}
	defer b.Close()
	p.work.Go(func() {
		_, _ = io.Copy(b, c)
		b.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(c, b)
}

// unavailable answers every request with 503 and closes the connection.
func unavailable(c net.Conn) {
	buf := make([]byte, 64<<10)
	if _, err := c.Read(buf); err != nil && !errors.Is(err, io.EOF) {
		return
	}
	const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>ServiceUnavailable</Code><Message>away</Message></Error>`
	fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c) // avoids a reset while the client is still sending
}
