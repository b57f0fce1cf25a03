package limits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// server speaks Kafka's protocol for every kind except Bucket.
type server struct {
	cfg    Config
	kind   Kind
	listen net.Listener
	topics *topics
	frames *frames
	wal    *wal         // nil without a WAL: everything is answered at once
	kept   atomic.Int64 // bytes in memory, for Fetch
	// producers is the last producer id that was given.
	producers atomic.Int64

	working  sync.WaitGroup  // connections
	draining sync.WaitGroup  // late answers that clients are slow to accept
	failed   chan error      // capacity 1: the first reason for not going on
	ended    <-chan struct{} // wakes long polls

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newServer(ctx context.Context, kind Kind, cfg Config, l net.Listener) (*server, error) {
	s := &server{
		cfg: cfg, kind: kind, listen: l, topics: newTopics(cfg.Partitions), frames: newFrames(cfg.PendingBytes, kind == Fetch),
		failed: make(chan error, 1), conns: make(map[net.Conn]struct{}),
	}
	if !kind.logs() {
		return s, nil
	}
	var up *uploader
	var err error
	switch kind {
	case WALUpload:
		up, err = uploadToBucket(ctx, cfg, s.fail)
	case WALTwice:
		up, err = writeTwice(cfg, s.fail)
	}
	if err != nil {
		return nil, err
	}
	s.wal, err = newWAL(cfg, kind != WAL, up, s.fail)
	return s, err
}

// fail ends the server. A limit that has lost acknowledged data measures nothing.
func (s *server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// serve accepts connections until ctx ends or something fails. Then it stops the connections first,
// then the WAL, then the uploads.
func (s *server) serve(ctx context.Context, ready func(net.Addr)) error {
	ended := make(chan struct{})
	s.ended = ended
	accepting := make(chan error, 1)
	go func() { accepting <- s.accept() }()
	ready(s.listen.Addr())
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	case err = <-accepting:
		accepting <- nil
	}
	close(ended)
	_ = s.listen.Close()
	<-accepting
	s.closeConns()
	s.frames.close()
	s.working.Wait()
	if s.wal != nil {
		err = errors.Join(err, s.wal.close())
	}
	s.draining.Wait()
	return err
}

func (s *server) accept() error {
	for {
		c, err := s.listen.Accept()
		if err != nil {
			return fmt.Errorf("limits: accept: %w", err)
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.working.Go(func() { s.serveConn(c) })
	}
}

func (s *server) serveConn(tcp net.Conn) {
	c, err := newConn(s, tcp)
	if err == nil {
		err = c.serve()
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.cfg.Log.Warn("connection ended", "kind", string(s.kind), "client", tcp.RemoteAddr().String(), "error", err)
	}
	_ = tcp.Close()
	s.mu.Lock()
	delete(s.conns, tcp)
	s.mu.Unlock()
}

func (s *server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}
