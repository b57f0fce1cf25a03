package coordinator

import (
	"fmt"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// batchBytesMax is the size up to which writes gather in one batch. A single write may be larger.
const batchBytesMax = mib

// appender is the queue of the writes that wait, in the order of the log.
type appender struct {
	queue    []write
	inFlight []write // the writes of the one append that has no outcome yet
	settled  chan outcome
	failing  bool // the last append was refused, and a log line has said so

	end      ident.Offset // end of the log, as far as its appends have settled
	logBytes int64        // from the log's start to its end
}

// write is a run of records that go into one batch together. They come from the machine, or they
// are a part of the live state that is written again.
type write struct {
	token   group.Token
	records []group.Record
	bytes   int
	live    bool // part of the live state: it has no token
}

// outcome says how an append ended.
type outcome struct {
	base  ident.Offset
	count int
	bytes int
	err   error
}

// recordOverhead is about what a record takes in addition to its key and value.
const recordOverhead = 16

func newWrite(records []group.Record) write {
	w := write{records: records}
	for i := range records {
		w.bytes += recordBytes(&records[i])
	}
	return w
}

func recordBytes(r *group.Record) int { return recordOverhead + len(r.Key) + len(r.Value) }

func (a *appender) add(writes []group.Write) {
	for _, in := range writes {
		w := newWrite(in.Records)
		w.token = in.Token
		a.queue = append(a.queue, w)
	}
}

// idle reports whether nothing waits to be written or to be settled.
func (a *appender) idle() bool { return len(a.queue) == 0 && len(a.inFlight) == 0 }

// next takes the writes of one batch off the queue. Live state is never in one batch with other
// writes.
func (a *appender) next() []write {
	n, bytes := 1, a.queue[0].bytes
	for n < len(a.queue) && a.queue[n].live == a.queue[0].live && bytes+a.queue[n].bytes <= batchBytesMax {
		bytes += a.queue[n].bytes
		n++
	}
	writes := a.queue[:n:n]
	a.queue = a.queue[n:]
	return writes
}

// maybeAppend appends the writes that have gathered, unless an append is in flight.
func (s *shard) maybeAppend() {
	a := &s.appender
	if len(a.inFlight) > 0 || len(a.queue) == 0 {
		return
	}
	a.inFlight = a.next()
	batch, header := buildBatch(a.inFlight, time.Now())
	s.deps.Log.Append(&storage.AppendRequest{
		Epoch: s.epoch, CheckEpoch: true,
		Partitions: []storage.PartitionAppend{{Partition: s.tp, Batch: batch, Header: header}},
		Done: func(r *storage.AppendRequest) {
			p := &r.Partitions[0]
			// The channel has room, because one append is in flight.
			a.settled <- outcome{base: p.BaseOffset, count: int(header.RecordCount), bytes: len(batch), err: p.Err}
		},
	})
}

func buildBatch(writes []write, now time.Time) ([]byte, protocol.BatchHeader) {
	var records []protocol.Record
	for _, w := range writes {
		for _, r := range w.records {
			records = append(records, protocol.Record{Timestamp: now.UnixMilli(), Key: r.Key, Value: r.Value})
		}
	}
	batch, err := protocol.BuildBatch(protocol.NoProducerSpec, records)
	if err != nil {
		panic(fmt.Sprintf("BUG: a batch without a codec cannot be built: %v", err))
	}
	header, err := protocol.ParseBatchHeader(batch)
	if err != nil {
		panic(fmt.Sprintf("BUG: our own batch cannot be read: %v", err))
	}
	return batch, header
}

// written tells the machine how its writes ended, in their order. Only now does the state become
// visible, and only now are the answers sent (I2, I13).
func (s *shard) written(o outcome) {
	a := &s.appender
	writes := a.inFlight
	a.inFlight = nil
	if o.err == nil {
		a.end = o.base + ident.Offset(o.count)
		a.logBytes += int64(o.bytes)
		s.shorten.bytes += int64(o.bytes)
	} else if !a.failing {
		s.log.Warn("state of groups is not written", "err", o.err)
	}
	a.failing = o.err != nil
	if writes[0].live {
		s.liveWritten(o)
		return
	}
	for _, w := range writes {
		s.take(s.machine.Written(time.Now(), w.token, writeError(o.err)))
	}
}
