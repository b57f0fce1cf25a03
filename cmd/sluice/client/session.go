package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	brokersDefault = "127.0.0.1:9092"
	brokersEnv     = "SLUICE_BROKERS"
)

// connection is how to reach the cluster: the flags of every command.
type connection struct {
	brokers []string
	timeout time.Duration
}

func (c *connection) addFlags(f *pflag.FlagSet) {
	f.StringSliceVarP(&c.brokers, "brokers", "b", nil, "`HOST:PORT` of one or more brokers (default $"+brokersEnv+", else "+brokersDefault+")")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "longest `TIME` to wait for an answer of the cluster")
}

// seeds are the brokers to ask first, from the flag, the environment, or else this machine.
func (c *connection) seeds() []string {
	if len(c.brokers) > 0 {
		return c.brokers
	}
	if env := os.Getenv(brokersEnv); env != "" {
		return strings.Split(env, ",")
	}
	return []string{brokersDefault}
}

// session is one connected client.
type session struct {
	connection
	kafka *kgo.Client
	admin admin
	dials *dials
}

// open connects, so that an unreachable cluster is reported at once and not after retries.
func (c *connection) open(cmd *cobra.Command, opts ...kgo.Opt) (*session, error) {
	if c.timeout <= 0 {
		return nil, usage("--timeout %v: want a time above zero, such as 10s", c.timeout)
	}
	s := &session{connection: *c, dials: &dials{failed: make(map[string]error)}}
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(c.seeds()...), kgo.ClientID("sluice"), kgo.WithHooks(s.dials),
		kgo.DialTimeout(c.timeout), kgo.RetryTimeout(c.timeout), kgo.RequestTimeoutOverhead(max(c.timeout, 100*time.Millisecond)), kgo.MetadataMinAge(250 * time.Millisecond),
	}, opts...)
	var err error
	if s.kafka, err = kgo.NewClient(opts...); err != nil {
		return nil, usage("%w", err)
	}
	s.admin = admin{kadm.NewClient(s.kafka)}
	s.admin.cluster.SetTimeoutMillis(int32(c.timeout.Milliseconds()))
	ctx, cancel := s.within(cmd.Context())
	defer cancel()
	if err := s.kafka.Ping(ctx); err != nil {
		s.kafka.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

func (s *session) close() { s.kafka.Close() }

// within bounds a wait for the cluster.
func (s *session) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// bounded runs an administrative command: connected, and finished within the timeout.
func (c *connection) bounded(cmd *cobra.Command, do func(ctx context.Context, s *session) error) error {
	s, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := s.within(cmd.Context())
	defer cancel()
	return s.explain(do(ctx, s))
}

// dials remembers which addresses cannot be connected to, since retries hide that behind a timeout.
type dials struct {
	mu     sync.Mutex
	failed map[string]error
}

// OnBrokerConnect implements a hook of the client.
func (d *dials) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	known := d.failed[addr]
	switch {
	case err == nil:
		delete(d.failed, addr)
	case errors.Is(err, context.Canceled):
	// After our own timeout the reason that is known says more.
	case known != nil && errors.Is(err, context.DeadlineExceeded):
	default:
		d.failed[addr] = err
	}
}

// first returns an address that cannot be connected to now, if there is one.
func (d *dials) first() (addr string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(d.failed)) {
		return addr, d.failed[addr]
	}
	return "", nil
}

// explain turns the client's error about reaching the cluster into one on which a person can act.
// Errors that already have an exit code stay as they are.
func (s *session) explain(err error) error {
	var said *exitError
	var named plainCode
	var answer *kerr.Error
	if err == nil || errors.As(err, &said) || errors.As(err, &named) {
		return err
	}
	if errors.As(err, &answer) {
		return clusterError("the cluster", err, "")
	}
	addr, dial := s.dials.first()
	var op *net.OpError
	var eof *kgo.ErrFirstReadEOF
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &eof):
		return fail(exitUnreachable, "%s: the connection was closed at the first request: is it a Kafka port without TLS and SASL?", strings.Join(s.seeds(), ","))
	case dial == nil && errors.Is(err, context.DeadlineExceeded):
		return fail(exitUnreachable, "%s: no answer within %v: is the cluster well? (--timeout allows more)", strings.Join(s.seeds(), ","), s.timeout)
	case dial == nil:
		return err
	case errors.As(dial, &op) && op.Op == "dial", errors.Is(dial, os.ErrDeadlineExceeded):
		return fail(exitUnreachable, "cannot reach %s: %s%s", addr, reason(dial), s.advice(addr))
	}
	return fail(exitUnreachable, "%s does not answer as Kafka does (%w): is it a Kafka port without TLS and SASL?", addr, dial)
}

// advice tells apart a broker that is down, and a broker that the cluster names by an address that
// is of no use here.
func (s *session) advice(addr string) string {
	for _, seed := range s.seeds() {
		if seed == addr || seed+":9092" == addr {
			return ": is the broker running? Start one with `sluice dev`, or name another with --brokers or " + brokersEnv
		}
	}
	return fmt.Sprintf(": the cluster names its broker so to clients that ask %s; its advertised.listeners must be reachable from here", strings.Join(s.seeds(), ","))
}

// reason returns the innermost part of a network error.
func reason(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &dns):
		return "no such host"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	}
	return err.Error()
}

// topicError says what an error code of the cluster means for a topic.
func topicError(topic string, err error, detail string) error {
	var doubt inDoubt
	switch {
	case errors.As(err, &doubt):
		err = topicError(topic, doubt.error, detail)
		return fail(ExitCode(err), "%w (an earlier try of this command timed out and may have done it)", err)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return notFound("topic %q does not exist", topic)
	case errors.Is(err, kerr.TopicAlreadyExists):
		return fail(exitRefused, "topic %q exists already", topic)
	}
	return clusterError(fmt.Sprintf("topic %q", topic), err, detail)
}

// groupError says what an error code of the cluster means for a group.
func groupError(group string, err error, detail string) error {
	switch {
	case errors.Is(err, kerr.GroupIDNotFound):
		return notFound("group %q does not exist", group)
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.RebalanceInProgress):
		return fail(exitRefused, "group %q has members: stop its consumers first", group)
	}
	return clusterError(fmt.Sprintf("group %q", group), err, detail)
}

// storageTrouble is what KAFKA_STORAGE_ERROR means for a person. Kafka's own words blame only the
// disk.
const storageTrouble = "the broker cannot get at the records now: its object store is away, or its disk fails"

// clusterError is any other code, with its name and the broker's own words, or Kafka's.
func clusterError(what string, err error, detail string) error {
	var code *kerr.Error
	if !errors.As(err, &code) {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch {
	case errors.Is(err, kerr.KafkaStorageError):
		detail = storageTrouble
	case detail == "" || detail == code.Message:
		detail = code.Description
	}
	if passes(err) { // the request was repeated for as long as --timeout allows
		return fail(exitUnreachable, "%s: %s (%w), and that did not pass within --timeout", what, trimStop(detail), plainCode{code})
	}
	return fmt.Errorf("%s: %s (%w)", what, trimStop(detail), plainCode{code})
}

// plainCode prints a code only by its name, and is still the code.
type plainCode struct{ code *kerr.Error }

func (c plainCode) Error() string { return c.code.Message }
func (c plainCode) Unwrap() error { return c.code }

func trimStop(s string) string { return strings.TrimSuffix(strings.TrimSpace(s), ".") }
