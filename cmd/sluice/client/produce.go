package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type produceOptions struct {
	topic     string
	partition int32
	key       string
	hasKey    bool
	headers   []string
	codec     string
	keyEnd    string
	delimiter string
	letters   string
	envelopes bool
	emptyNull bool
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var codecNames = []string{"none", "gzip", "snappy", "lz4", "zstd"}

func produceCommand() *cobra.Command {
	c := &connection{}
	var o produceOptions
	out := quiet
	cmd := &cobra.Command{
		Use:   "produce [TOPIC]",
		Short: "Send records from standard input: a line is a record",
		Long: `Send records from standard input, until it ends. A line is a record, unless -f or -J say otherwise.
It ends well when the cluster has acknowledged them all.

Records with a key go to the partition that the Java client would choose; those without go to
any. An empty line is a record with an empty value (with -Z: a null value).

-f reads what consume -f with the same format wrote. A letter that is not the last needs text
after it, unless its length was read before: '%k:%s\n', or '%K %k%S %s' for any bytes. A
format that ends with a letter ends with the line. %t and %p choose topic and partition,
%T and %h set timestamp and headers, %o is read and not used.

-J reads what consume -J wrote: topic (unless one is named here), ts, headers, key and payload.
The partition is chosen anew.`,
		Annotations: reference(lettersHelp, envelopeHelp),
		Example: `  echo hello | sluice produce greetings
  printf 'k1:v1\nk2:v2\n' | sluice produce orders -K :
  sluice produce orders -k customer-7 -H source=shell -z zstd < orders.txt
  sluice consume orders -e -J | sluice produce orders-copy -J
  sluice consume orders -e -f '%K %k%S %s' | sluice produce orders-copy -f '%K %k%S %s'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeWith(c, 1, topicNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.topic = args[0]
			}
			o.hasKey = cmd.Flags().Changed("key")
			return produce(cmd, c, o, out)
		},
	}
	c.addFlags(cmd.Flags())
	f := cmd.Flags()
	f.Int32VarP(&o.partition, "partition", "p", -1, "`PARTITION` of all records; -1: chosen by the key")
	f.StringVarP(&o.key, "key", "k", "", "`KEY` of all records that bring none")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "`NAME=VALUE` of all records (repeat for more); NAME alone has a null value")
	f.StringVarP(&o.codec, "compress", "z", "none", "`CODEC`: "+strings.Join(codecNames, ", "))
	f.StringVarP(&o.keyEnd, "key-delimiter", "K", "", "`TEXT` between key and value of a line; a line without it has no key")
	f.StringVarP(&o.delimiter, "delimiter", "D", `\n`, "`TEXT` between records; a newline unless told")
	f.Lookup("delimiter").DefValue = "" // it would be shown escaped twice
	f.StringVarP(&o.letters, "format", "f", "", "`FORMAT` of the input, by the letters below")
	f.BoolVarP(&o.envelopes, "json", "J", false, "the input is JSON envelopes, one per line")
	f.BoolVarP(&o.emptyNull, "null", "Z", false, "empty keys and values are null")
	f.VarP(&out, "output", "o", "print what was sent as table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("compress", cobra.FixedCompletions(codecNames, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// quiet is the output of produce if none is requested.
const quiet format = ""

// input makes the reader for which the options ask.
func (o *produceOptions) input(in io.Reader) (*input, error) {
	i := newInput(in)
	i.emptyNull = o.emptyNull
	var err error
	if i.delimiter, err = unescape(o.delimiter); err != nil || i.delimiter == "" {
		return nil, usage("-D %q: want at least a character: %v", o.delimiter, err)
	}
	if i.keyEnd, err = unescape(o.keyEnd); err != nil {
		return nil, usage("-K %w", err)
	}
	switch {
	case o.envelopes && o.letters != "", o.keyEnd != "" && (o.envelopes || o.letters != ""):
		return nil, usage("-K, -f and -J are three ways to read the input: want one")
	case o.envelopes:
		i.next = (*input).enveloped
	case o.letters != "":
		i.next = (*input).formatted
		pieces, err := parseFormat(o.letters)
		if err == nil {
			i.pieces, err = inputFormat(pieces, i.delimiter)
		}
		if err != nil {
			return nil, usage("-f: %w", err)
		}
	default:
		i.next = (*input).line
	}
	if o.topic == "" && !o.envelopes && !hasLetter(i.pieces, 't') {
		return nil, usage("which topic? Name it, or have it in the input (-J, or %%t in -f)")
	}
	return i, nil
}

// sender sends records and counts the answers, which come on the client's goroutines.
type sender struct {
	session *session
	topic   string
	defaults
	manual bool // partitions are named, by -p or in the input

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	patience *time.Timer // runs while an answer is missing
	waiting  int
	failed   int
	first    error // the first error of a record
	sent     map[partition]*sentRow
}

// defaults are for records that have no values of their own.
type defaults struct {
	partition int32
	key       []byte
	headers   []kgo.RecordHeader
}

// sentRow is what was sent to a partition.
type sentRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Records   int64  `json:"records"`
	First     int64  `json:"first_offset"`
	Last      int64  `json:"last_offset"`
}

var errNoAck = errors.New("no acknowledgement")

func (o *produceOptions) defaults() (defaults, error) {
	d := defaults{partition: o.partition}
	if o.partition < -1 {
		return d, usage("-p %d: want a partition from 0 on, or -1 to have it chosen by the key", o.partition)
	}
	if o.hasKey {
		d.key = []byte(o.key)
	}
	for _, text := range o.headers {
		h, err := parseHeader(text)
		if err != nil {
			return d, usage("-H: %w", err)
		}
		d.headers = append(d.headers, h)
	}
	return d, nil
}

func produce(cmd *cobra.Command, c *connection, o produceOptions, out format) error {
	in, err := o.input(cmd.InOrStdin())
	if err != nil {
		return err
	}
	d, err := o.defaults()
	if err != nil {
		return err
	}
	codec, ok := codecs[o.codec]
	if !ok {
		return usage("-z %q: want %s", o.codec, strings.Join(codecNames, ", "))
	}
	manual := o.partition >= 0 || hasLetter(in.pieces, 'p')
	partitioner := kgo.StickyKeyPartitioner(nil)
	if manual {
		partitioner = kgo.ManualPartitioner()
	}
	s, err := c.open(cmd, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(partitioner), kgo.AllowAutoTopicCreation(),
		kgo.MaxBufferedBytes(16<<20), kgo.ProduceRequestTimeout(c.timeout), kgo.UnknownTopicRetries(3))
	if err != nil {
		return err
	}
	defer s.close()
	p := newSender(cmd.Context(), s, o.topic, d, manual)
	defer p.cancel(nil)
	if err := p.checkPartition(); err != nil {
		return s.explain(err)
	}
	err = p.run(in, newProgress(cmd.ErrOrStderr(), "sent"))
	return errors.Join(err, p.report(cmd, out))
}

func newSender(ctx context.Context, s *session, topic string, d defaults, manual bool) *sender {
	p := &sender{session: s, topic: topic, defaults: d, manual: manual, sent: make(map[partition]*sentRow)}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.patience = time.AfterFunc(s.timeout, func() { p.cancel(errNoAck) })
	p.patience.Stop()
	return p
}

// checkPartition refuses -p for a partition that does not exist, before anything is read. A topic
// that does not exist may be created.
func (p *sender) checkPartition() error {
	if p.partition < 0 || p.topic == "" {
		return nil
	}
	ctx, cancel := p.session.within(p.ctx)
	defer cancel()
	_, err := p.session.partitionsOf(ctx, []selection{{p.topic, []int32{p.partition}}})
	return err
}

// run sends the whole input and waits for the answers.
func (p *sender) run(in *input, bar *progress) error {
	defer bar.end()
	readErr := p.sendAll(p.records(in), bar)
	_ = p.session.kafka.Flush(p.ctx) // each record's answer tells how it went
	return p.outcome(readErr)
}

// reading is a record of the input, or the reason why there is none.
type reading struct {
	number int
	record *kgo.Record
	err    error
}

// records reads one record ahead, so that the receiver can end while the input is silent. The
// goroutine ends with the input or the sender. In a read that never returns, it ends with the
// process.
func (p *sender) records(in *input) <-chan reading {
	out := make(chan reading)
	go func() {
		for {
			record, err := in.read()
			select {
			case out <- reading{in.count, record, err}:
			case <-p.ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// sendAll sends until the input ends or cannot be read, or until going on makes no sense.
func (p *sender) sendAll(records <-chan reading, bar *progress) error {
	for p.ctx.Err() == nil && !p.broken() {
		select {
		case <-p.ctx.Done():
		case r := <-records:
			if r.err == io.EOF {
				return nil
			}
			if r.err != nil {
				return fmt.Errorf("standard input: %w", r.err)
			}
			if err := p.complete(r.record); err != nil {
				return usage("standard input: record %d: %w", r.number, err)
			}
			bar.add(int64(len(r.record.Key) + len(r.record.Value)))
			p.send(r.record)
		}
	}
	return nil
}

// complete gives a record the values that it lacks.
func (p *sender) complete(r *kgo.Record) error {
	if p.topic != "" {
		r.Topic = p.topic
	}
	if r.Topic == "" {
		return errors.New("it names no topic")
	}
	if r.Key == nil {
		r.Key = p.key
	}
	if p.partition >= 0 {
		r.Partition = p.partition
	}
	r.Headers = append(r.Headers, p.headers...)
	return nil
}

// send hands a record to the client, and waits while too many are under way.
func (p *sender) send(r *kgo.Record) {
	p.mu.Lock()
	if p.waiting == 0 {
		p.patience.Reset(p.session.timeout)
	}
	p.waiting++
	p.mu.Unlock()
	p.session.kafka.Produce(p.ctx, r, p.answered)
}

func (p *sender) answered(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting--; p.waiting > 0 {
		p.patience.Reset(p.session.timeout)
	} else {
		p.patience.Stop()
	}
	if err != nil {
		p.failed++
		if p.first == nil {
			p.first = p.refused(r, err)
		}
		return
	}
	at := partition{r.Topic, r.Partition}
	row := p.sent[at]
	if row == nil {
		row = &sentRow{Topic: r.Topic, Partition: r.Partition, First: r.Offset, Last: r.Offset}
		p.sent[at] = row
	}
	row.Records++
	row.First, row.Last = min(row.First, r.Offset), max(row.Last, r.Offset)
}

// refused says why a record was not accepted.
func (p *sender) refused(r *kgo.Record, err error) error {
	switch {
	case p.ctx.Err() != nil:
		return p.ended()
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return notFound("topic %q does not exist: make it with `sluice topic create %s`", r.Topic, r.Topic)
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("topic %q: a record of %d bytes is too large: a request may hold 1 MB, and max.message.bytes of the topic bounds it too", r.Topic, len(r.Key)+len(r.Value))
	case p.manual && strings.Contains(err.Error(), "partition"):
		return notFound("topic %q has no partition %d", r.Topic, r.Partition)
	}
	return p.session.explain(topicError(r.Topic, err, ""))
}

func (p *sender) broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first != nil
}

// outcome returns the first reason why not everything was sent.
func (p *sender) outcome(readErr error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sent int64
	for _, row := range p.sent {
		sent += row.Records
	}
	err := readErr
	if p.first != nil {
		err = p.first
	} else if err == nil && p.ctx.Err() != nil {
		err = p.ended()
	}
	switch {
	case err == nil:
		return nil
	case sent == 0:
		return err
	}
	return fail(exitPartly, "%w (acknowledged before: %s; not: %d)", err, plural(sent, "record"), p.failed+p.waiting)
}

// ended says why the sender's context is over.
func (p *sender) ended() error {
	if errors.Is(context.Cause(p.ctx), errNoAck) {
		return p.session.explain(context.DeadlineExceeded)
	}
	return errors.New("interrupted")
}

// report prints what was sent: a line on a terminal, and elsewhere only what was requested.
func (p *sender) report(cmd *cobra.Command, out format) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows := []sentRow{}
	for _, row := range p.sent {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b sentRow) int {
		return comparePartitions(partition{a.Topic, a.Partition}, partition{b.Topic, b.Partition})
	})
	if out != quiet {
		return out.print(cmd.OutOrStdout(), rows, func(t *tabulator) { printSent(t, rows) })
	}
	if isTerminal(cmd.ErrOrStderr()) {
		for _, r := range rows {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s to %s [%d], offsets %d to %d\n", plural(r.Records, "record"), r.Topic, r.Partition, r.First, r.Last)
		}
	}
	return nil
}

func printSent(t *tabulator, rows []sentRow) {
	t.head("TOPIC", "PARTITION", "RECORDS", "FIRST OFFSET", "LAST OFFSET")
	for _, r := range rows {
		t.row(r.Topic, r.Partition, r.Records, r.First, r.Last)
	}
}
