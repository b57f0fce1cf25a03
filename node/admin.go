package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicemq/sluice/storage"
)

// These bounds keep a client of the admin server from holding much, or holding anything for long.
const (
	adminConnectionsMax = 64
	adminHeaderTimeout  = 5 * time.Second
	adminIdleTimeout    = time.Minute
	adminAnswerTimeout  = 30 * time.Second // plus the seconds that a profile takes
	adminProfileMax     = 10 * time.Minute
	adminHeaderBytesMax = 16 << 10
	scrapesMax          = 2
)

// admin answers /healthz, /readyz, /metrics, /stuck and /debug/pprof/. It starts before anything is
// recovered, and ends after the last flush.
type admin struct {
	health   func() []string // the reasons why the process should be restarted
	ready    func() []string // the reasons why clients should not be sent here
	log      *slog.Logger
	server   *http.Server
	registry *prometheus.Registry // all metrics that have few series
	details  atomic.Pointer[details]
	stuck    atomic.Pointer[func() []storage.StuckPartition] // nil until the log is open

	accepting sync.WaitGroup
	answering sync.RWMutex // each answer holds it for reading
	closed    bool         // guarded by answering
}

// details are the metrics with one series per partition: bounded shows up to a number of
// partitions, all shows every one.
type details struct{ bounded, all prometheus.Gatherer }

// newAdmin makes the registry. It serves nothing yet.
func newAdmin(log *slog.Logger, health, ready func() []string) *admin {
	a := &admin{log: log, health: health, ready: ready, registry: prometheus.NewRegistry()}
	a.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	a.server = &http.Server{
		Handler:           a.bounded(a.routes()),
		ReadHeaderTimeout: adminHeaderTimeout, ReadTimeout: adminHeaderTimeout, IdleTimeout: adminIdleTimeout,
		MaxHeaderBytes: adminHeaderBytesMax,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return a
}

// serve answers on l until close is called, which closes l too.
func (a *admin) serve(l net.Listener) {
	a.accepting.Go(func() {
		if err := a.server.Serve(limit(l, adminConnectionsMax)); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the admin server ended; health and metrics are not answered any more", "address", l.Addr().String(), "err", err)
		}
	})
}

// close ends every connection and waits until no answer is being given any more. It may be called
// twice.
func (a *admin) close() error {
	err := a.server.Close()
	a.accepting.Wait()
	a.answering.Lock()
	defer a.answering.Unlock()
	a.closed = true
	return err
}

func (a *admin) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "Sluice\n\n/healthz\n/readyz\n/metrics\n/metrics?partitions=all\n/stuck\n/debug/pprof/\n")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerState(w, "ok", "failed", a.health()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answerState(w, "ready", "not ready", append(a.health(), a.ready()...))
	})
	scrapes := make(chan struct{}, scrapesMax)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		select {
		case scrapes <- struct{}{}:
			defer func() { <-scrapes }()
		case <-r.Context().Done():
			return
		}
		a.scrape(w, r)
	})
	mux.HandleFunc("GET /stuck", a.answerStuck)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// answerStuck lists the partitions of which nothing can be written to the bucket.
func (a *admin) answerStuck(w http.ResponseWriter, _ *http.Request) {
	list := a.stuck.Load()
	if list == nil {
		http.Error(w, "the log is not open yet", http.StatusServiceUnavailable)
		return
	}
	answer := append([]storage.StuckPartition{}, (*list)()...) // [], not null
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// scrape answers /metrics. Partitions are included up to a number of them, or all of them if the
// request asks for that.
func (a *admin) scrape(w http.ResponseWriter, r *http.Request) {
	from := prometheus.Gatherers{a.registry}
	detail := a.details.Load()
	switch p := r.URL.Query().Get("partitions"); {
	case p == "none", p == "" && detail == nil, p == "all" && detail == nil:
	case p == "":
		from = append(from, detail.bounded)
	case p == "all":
		from = append(from, detail.all)
	default:
		http.Error(w, fmt.Sprintf("partitions=%.20q: want all or none", p), http.StatusBadRequest)
		return
	}
	promhttp.HandlerFor(from, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	}).ServeHTTP(w, r)
}

// bounded ends an answer that the client does not take, and lets close wait for the answer.
func (a *admin) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.answering.RLock()
		defer a.answering.RUnlock()
		if a.closed {
			return
		}
		// The handler of the profile reports a malformed number.
		seconds, _ := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64)
		if seconds > adminProfileMax.Seconds() {
			http.Error(w, fmt.Sprintf("seconds: at most %v", adminProfileMax.Seconds()), http.StatusBadRequest)
			return
		}
		answerIn := adminAnswerTimeout + time.Duration(max(seconds, 0)*float64(time.Second))
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerIn)); err != nil {
			return // the connection is gone
		}
		next.ServeHTTP(w, r)
	})
}

// answerState answers 200, or 503 with the reasons.
func answerState(w http.ResponseWriter, good, bad string, reasons []string) {
	answer := struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons,omitempty"`
	}{good, reasons}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if len(reasons) > 0 {
		answer.Status = bad
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// limited is a listener that bounds how many of its connections are open at a time.
type limited struct {
	net.Listener
	slots  chan struct{}
	ctx    context.Context // Close ends it
	cancel context.CancelFunc
}

func limit(l net.Listener, connections int) *limited {
	out := &limited{Listener: l, slots: make(chan struct{}, connections)}
	out.ctx, out.cancel = context.WithCancel(context.Background())
	return out
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.cancel()
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
