package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/internal/retry"
)

type consumeOptions struct {
	offset     string
	partitions []int32
	count      int64
	exitAtEnd  bool
	group      string
	committed  bool

	letters   string
	envelopes bool
	keyEnd    string
	delimiter string
	nullText  bool
	out       format
}

func consumeCommand() *cobra.Command {
	c := &connection{}
	o := consumeOptions{}
	cmd := &cobra.Command{
		Use:   "consume TOPIC…",
		Short: "Print records, from the oldest on, and go on as new ones come",
		Long: `Print records, from the oldest on, and go on as new ones come. Stop it with Ctrl-C, or let it
end by itself: -e at what is the end when it starts, -c after so many records.

A record is printed as its value and a newline, unless -K, -f, -J or -o say otherwise. Records of a
partition come in order; partitions are mixed as they arrive. Partitions that are added
to a topic later are not read, except with --group.

With --group it reads as a member of a consumer group: from where the group stands, sharing
partitions with its other members. What was printed is committed, every five seconds and at
the end. Where nothing is committed it starts at --offset.

-O says where to start. (In kcat this is -o, which here is the output in every command.)`,
		Annotations: reference(whereHelp, lettersHelp, envelopeHelp),
		Example: `  sluice consume orders
  sluice consume orders -O -10 -e                      the last ten of each partition
  sluice consume orders -O @-1h -f '%T %p/%o %k: %s\n'
  sluice consume orders -p 0 -O 1500 -c 1 -J | jq .
  sluice consume orders payments --group billing`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeWith(c, 0, topicNames),
		RunE: func(cmd *cobra.Command, topics []string) error {
			return consume(cmd, c, o, topics)
		},
	}
	c.addFlags(cmd.Flags())
	f := cmd.Flags()
	f.StringVarP(&o.offset, "offset", "O", "start", "`WHERE` to start: start, end, N, +N, -N, @TIME or @-AGE")
	f.Int32SliceVarP(&o.partitions, "partition", "p", nil, "`PARTITIONS` to read, such as 0,2; all unless told")
	f.Lookup("partition").DefValue = ""
	f.Int64VarP(&o.count, "count", "c", 0, "end after `N` records; 0: do not")
	f.BoolVarP(&o.exitAtEnd, "exit", "e", false, "end at what is the end when it starts")
	f.StringVarP(&o.group, "group", "G", "", "read as a member of this consumer `GROUP`")
	f.BoolVar(&o.committed, "read-committed", false, "leave out records of open and aborted transactions")
	f.StringVarP(&o.letters, "format", "f", "", "`FORMAT` to print a record in, by the letters below")
	f.BoolVarP(&o.envelopes, "json", "J", false, "print JSON envelopes, one per line; the same as -o json")
	f.StringVarP(&o.keyEnd, "key-delimiter", "K", "", "print keys too, with this `TEXT` between key and value")
	f.StringVarP(&o.delimiter, "delimiter", "D", `\n`, "`TEXT` after each record; a newline unless told")
	f.Lookup("delimiter").DefValue = "" // it would be shown escaped twice
	f.BoolVarP(&o.nullText, "null", "Z", false, "print NULL for keys and values that are null")
	f.VarP(&o.out, "output", "o", "print records as table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("group", completeWith(c, 0, groupNames))
	return cmd
}

// printer appends a printed record to dst.
type printer func(dst []byte, r *kgo.Record) ([]byte, error)

func (o *consumeOptions) printer() (printer, error) {
	ways := 0
	for _, given := range []bool{o.letters != "", o.envelopes, o.keyEnd != "", o.out != "" && !(o.envelopes && o.out == asJSON)} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return nil, usage("-f, -K, -J and -o are ways to print a record: want one")
	}
	switch {
	case o.envelopes || o.out == asJSON:
		return func(dst []byte, r *kgo.Record) ([]byte, error) {
			line, err := newEnvelope(r).line()
			return append(dst, line...), err
		}, nil
	case o.out == asYAML:
		return func(dst []byte, r *kgo.Record) ([]byte, error) {
			doc, err := toYAML(newEnvelope(r))
			return append(append(dst, "---\n"...), doc...), err
		}, nil
	case o.out == asTable:
		return tablePrinter(), nil
	}
	pieces, err := o.pieces()
	nullText := ""
	if o.nullText {
		nullText = "NULL"
	}
	return func(dst []byte, r *kgo.Record) ([]byte, error) {
		return appendRecord(dst, pieces, r, nullText), nil
	}, err
}

// pieces returns the requested format, or the one that the delimiters make.
func (o *consumeOptions) pieces() ([]piece, error) {
	if o.letters != "" {
		pieces, err := parseFormat(o.letters)
		if err != nil {
			return nil, usage("-f: %w", err)
		}
		return pieces, nil
	}
	end, err := unescape(o.delimiter)
	if err != nil {
		return nil, usage("-D %w", err)
	}
	pieces := []piece{{letter: 's'}, {text: end}}
	if o.keyEnd == "" {
		return pieces, nil
	}
	between, err := unescape(o.keyEnd)
	if err != nil {
		return nil, usage("-K %w", err)
	}
	return append([]piece{{letter: 'k'}, {text: between}}, pieces...), nil
}

// tablePrinter has columns of fixed width, so that a row can be printed when its record comes.
func tablePrinter() printer {
	const layout = "%-24s %9s %10s  %-24s  %-16s %s\n"
	headed := false
	return func(dst []byte, r *kgo.Record) ([]byte, error) {
		if !headed {
			headed = true
			dst = fmt.Appendf(dst, layout, "TOPIC", "PARTITION", "OFFSET", "TIME", "KEY", "VALUE")
		}
		return fmt.Appendf(dst, layout, r.Topic, strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10),
			r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"), oneLine(r.Key), oneLine(r.Value)), nil
	}
}

func oneLine(b []byte) string {
	if b == nil {
		return "NULL"
	}
	return cell(string(b))
}

func consume(cmd *cobra.Command, c *connection, o consumeOptions, topics []string) error {
	print, err := o.printer()
	if err != nil {
		return err
	}
	from, err := parseWhere(o.offset)
	if err != nil {
		return usage("--offset %q: %w", o.offset, err)
	}
	if o.count < 0 {
		return usage("--count %d: want a number of records", o.count)
	}
	if o.group != "" && len(o.partitions) > 0 {
		return usage("--group and --partition: a group's partitions are shared out among its members")
	}
	r := &reader{
		options: o, from: from, print: print, warnings: cmd.ErrOrStderr(),
		out: bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10), bar: newProgress(progressStream(cmd), "read"),
		ends: newEnds(),
	}
	defer r.bar.end()
	if o.group != "" {
		return r.asMember(cmd, c, topics)
	}
	return r.alone(cmd, c, topics)
}

// progressStream is where progress is printed: nowhere if the records themselves go to the
// terminal.
func progressStream(cmd *cobra.Command) io.Writer {
	if isTerminal(cmd.OutOrStdout()) {
		return io.Discard
	}
	return cmd.ErrOrStderr()
}

// reader prints records until it has enough.
type reader struct {
	options  consumeOptions
	from     where
	print    printer
	out      *bufio.Writer
	warnings io.Writer
	bar      *progress
	session  *session

	ends    *ends
	printed int64
	buf     []byte

	trouble error     // why a partition cannot be read now; nil since the last record
	told    time.Time // when trouble was last reported
}

func (o *consumeOptions) clientOptions() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.KeepControlRecords(), // they count for the end and are not printed
		kgo.KeepRetryableFetchErrors(), kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if o.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	return opts
}

// endOffsets are where a reader reaches the end: with transactions, before the first open one.
func (r *reader) endOffsets() listing {
	if r.options.committed {
		return r.session.admin.ListCommittedOffsets
	}
	return r.session.admin.ListEndOffsets
}

// alone reads partitions that are not shared, from offsets that are looked up before.
func (r *reader) alone(cmd *cobra.Command, c *connection, topics []string) (err error) {
	opts := append(r.options.clientOptions(), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if r.session, err = c.open(cmd, opts...); err != nil {
		return err
	}
	defer r.session.close()
	if err := r.assign(cmd.Context(), topics); err != nil {
		return r.session.explain(err)
	}
	return r.loop(cmd.Context(), func() error { return nil })
}

func (r *reader) assign(ctx context.Context, topics []string) error {
	ctx, cancel := r.session.within(ctx)
	defer cancel()
	var selections []selection
	for _, t := range topics {
		selections = append(selections, selection{t, r.options.partitions})
	}
	parts, err := r.session.partitionsOf(ctx, selections)
	if err != nil {
		return err
	}
	places, err := r.session.find(ctx, r.from, parts, r.endOffsets())
	if err != nil {
		return err
	}
	assigned := make(map[string]map[int32]kgo.Offset)
	for _, p := range parts {
		place := places[p]
		if place.note != "" {
			fmt.Fprintf(r.warnings, "%v: %v is %s: reading from %d\n", p, r.from, place.note, place.offset)
		}
		if assigned[p.topic] == nil {
			assigned[p.topic] = make(map[int32]kgo.Offset)
		}
		assigned[p.topic][p.number] = kgo.NewOffset().At(place.offset)
		r.ends.set(p, place.offset, place.end)
	}
	if !r.options.exitAtEnd || !r.ends.reached() {
		r.session.kafka.AddConsumePartitions(assigned)
	}
	return nil
}

// loop prints records until there are enough, the end is reached, or somebody stops it.
func (r *reader) loop(ctx context.Context, prepare func() error) error {
	idle := time.Now()
	pauses := retry.Pauses{First: askPauseFirst, Last: askPauseLast}
	for {
		if err := prepare(); err != nil {
			return err
		}
		if r.options.exitAtEnd && r.ends.reached() {
			return nil
		}
		poll, cancel := context.WithTimeout(ctx, min(r.session.timeout, time.Second))
		fetches := r.session.kafka.PollRecords(poll, 10_000)
		cancel()
		if err := r.fetchError(fetches); err != nil {
			return err
		}
		done, err := r.printAll(fetches)
		if err != nil || done || ctx.Err() != nil {
			return err
		}
		if fetches.NumRecords() > 0 {
			idle, r.trouble = time.Now(), nil
			pauses = retry.Pauses{First: askPauseFirst, Last: askPauseLast}
			continue
		}
		if r.trouble != nil && len(fetches.Errors()) > 0 {
			_ = pauses.Wait(ctx) // the client asks again at once
		}
		if time.Since(idle) >= r.session.timeout {
			idle = time.Now()
			if err := r.silence(ctx); err != nil {
				return err
			}
		}
	}
}

// fetchError returns the error after which reading cannot go on. An error that passes by itself is
// noted, and reported if it lasts; the client tries again. Our own timeouts are no errors.
func (r *reader) fetchError(fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		switch {
		case errors.Is(f.Err, context.DeadlineExceeded), errors.Is(f.Err, context.Canceled):
		case errors.Is(f.Err, kerr.OffsetOutOfRange):
			return fmt.Errorf("%v: the next record is not kept any more: retention was faster than this reader", partition{f.Topic, f.Partition})
		case kerr.IsRetriable(f.Err) && f.Topic != "":
			r.noteTrouble(f)
		case f.Topic == "":
			return r.session.explain(f.Err)
		default:
			return r.session.explain(topicError(f.Topic, f.Err, ""))
		}
	}
	return nil
}

// noteTrouble remembers why a partition cannot be read now. That a broker cannot get at its records
// is reported at once, and then once per timeout. Every other error passes so often that it must
// last before it is reported.
func (r *reader) noteTrouble(f kgo.FetchError) {
	at := partition{f.Topic, f.Partition}
	r.trouble = clusterError(at.String(), f.Err, "")
	if errors.Is(f.Err, kerr.UnknownTopicOrPartition) {
		r.trouble = topicError(f.Topic, f.Err, "")
	}
	if errors.Is(f.Err, kerr.KafkaStorageError) && time.Since(r.told) >= r.session.timeout && !r.options.exitAtEnd {
		r.told = time.Now()
		fmt.Fprintf(r.warnings, "%v: %s (%v); still trying\n", at, storageTrouble, plainCode{kerr.KafkaStorageError})
	}
}

// printAll prints records up to the requested count, and beyond no partition's end.
func (r *reader) printAll(fetches kgo.Fetches) (done bool, err error) {
	for it := fetches.RecordIter(); !it.Done(); {
		record := it.Next()
		p := partition{record.Topic, record.Partition}
		if r.options.exitAtEnd && r.ends.beyond(p, record.Offset) {
			continue
		}
		r.ends.at(p, record.Offset+1)
		if !record.Attrs.IsControl() {
			if err := r.printOne(record); err != nil {
				return true, err
			}
		}
		if r.options.group != "" {
			r.session.kafka.MarkCommitRecords(record)
		}
		if r.options.count > 0 && r.printed >= r.options.count {
			done = true
			break
		}
	}
	return done, r.out.Flush()
}

func (r *reader) printOne(record *kgo.Record) (err error) {
	if r.buf, err = r.print(r.buf[:0], record); err != nil {
		return err
	}
	if _, err := r.out.Write(r.buf); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	r.printed++
	r.bar.add(int64(len(record.Key) + len(record.Value)))
	return nil
}

// silence checks whether nothing comes because there is nothing. Without -e it reports the problem
// and waits.
func (r *reader) silence(ctx context.Context) error {
	ping, cancel := r.session.within(ctx)
	defer cancel()
	if err := r.session.kafka.Ping(ping); err != nil && ctx.Err() == nil {
		err = r.session.explain(err)
		if r.options.exitAtEnd {
			return err
		}
		fmt.Fprintf(r.warnings, "%v (still trying)\n", err)
		return nil
	}
	if r.trouble != nil && r.options.exitAtEnd {
		return r.trouble
	}
	if r.trouble != nil && time.Since(r.told) >= r.session.timeout {
		r.told = time.Now()
		fmt.Fprintf(r.warnings, "%v (still trying)\n", r.trouble)
		return nil
	}
	if p, missing := r.ends.missing(); r.options.exitAtEnd && missing {
		return fail(exitUnreachable, "%v: no record from offset %d on within %v, though it goes up to %d: raise --timeout if the cluster is slow",
			p, r.ends.positions[p], r.session.timeout, r.ends.ends[p])
	}
	return nil
}

// committedEvery is how often a member commits what it has printed.
const committedEvery = 5 * time.Second

// asMember reads as a member of a group.
func (r *reader) asMember(cmd *cobra.Command, c *connection, topics []string) (err error) {
	m := &membership{reader: r}
	start, err := memberStart(r.from)
	if err != nil {
		return err
	}
	opts := append(r.options.clientOptions(), kgo.ConsumerGroup(r.options.group), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(start),
		kgo.Balancers(kgo.CooperativeStickyBalancer(), kgo.RangeBalancer(), kgo.RoundRobinBalancer()),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(committedEvery), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost))
	if err := c.topicsExist(cmd, topics); err != nil {
		return err
	}
	if r.session, err = c.open(cmd, opts...); err != nil {
		return err
	}
	defer r.session.kafka.CloseAllowingRebalance()
	err = r.loop(cmd.Context(), func() error {
		r.session.kafka.AllowRebalance()
		return m.prepare(cmd.Context())
	})
	// Ctrl-C ends the reading, but not the commit.
	end, cancel := r.session.within(context.WithoutCancel(cmd.Context()))
	defer cancel()
	r.session.kafka.AllowRebalance()
	if commitErr := r.session.kafka.CommitMarkedOffsets(end); commitErr != nil {
		err = errors.Join(err, fmt.Errorf("commit what was printed: %w", groupError(r.options.group, r.session.explain(commitErr), "")))
	}
	// A coordinator that does not hear of it waits for the end of the session.
	_ = r.session.kafka.LeaveGroupContext(end)
	return err
}

// topicsExist refuses topics that do not exist. A group would wait for them.
func (c *connection) topicsExist(cmd *cobra.Command, topics []string) error {
	return c.bounded(cmd, func(ctx context.Context, s *session) error {
		var selections []selection
		for _, t := range topics {
			selections = append(selections, selection{topic: t})
		}
		_, err := s.partitionsOf(ctx, selections)
		return err
	})
}

// memberStart returns the start in the form of the client, which looks it up when it gets a
// partition without a committed offset.
func memberStart(w where) (kgo.Offset, error) {
	start := kgo.NewOffset()
	if ms, ok := w.byTime(time.Now()); ok {
		return start.AfterMilli(ms), nil
	}
	switch w.kind {
	case atStart:
		return start.AtStart(), nil
	case atEnd:
		return start.AtEnd(), nil
	case fromStart:
		return start.AtStart().Relative(w.n), nil
	case fromEnd:
		return start.AtEnd().Relative(-w.n), nil
	}
	return start, usage("--offset %v with --group: an offset of one partition says nothing for others: use `sluice group reset-offsets`", w)
}
