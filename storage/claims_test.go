package storage_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// claimKnobs leaves retention and flushes to the test.
func claimKnobs(c *storage.Config) {
	c.FlushInterval, c.FlushBytes, c.RetentionInterval = 1000*time.Hour, 1<<20, 1000*time.Hour
}

// keepAll keeps records that retention would delete.
var keepAll = map[string]string{catalog.ConfigRetentionMs: "-1"}

// TestClaimedTimes_OfEarlierReleases: the log and objects hold headers that claim no largest time,
// as earlier releases took them from producers. Their records decide lookups by time and retention,
// as in Apache Kafka 4.3.1.
func TestClaimedTimes_OfEarlierReleases(t *testing.T) {
	places := map[string]func(r *rig, m *modelLog, put func()){
		"in the log": func(r *rig, _ *modelLog, put func()) {
			put()
			r.restart() // memory has the times as this release set them
		},
		"in an object": func(r *rig, m *modelLog, put func()) {
			put()
			r.engine().ForgetTimes(m.tp)
			r.mustFlush()
			r.restart()
		},
		"in a leaf of the manifest": func(r *rig, m *modelLog, put func()) {
			for range 600 { // more than a root holds itself
				put()
				r.engine().ForgetTimes(m.tp)
				r.mustFlush()
			}
			r.restart()
		},
	}
	for place, bring := range places {
		for codec := range 5 {
			t.Run(fmt.Sprintf("%s, codec %d", place, codec), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newRig(t, 1, claimKnobs)
					m := r.newLog("t", map[string]string{catalog.ConfigRetentionMs: "3600000"})
					begin := time.Now().UnixMilli()
					bring(r, m, func() {
						r.put(m, modelBatch{codec: codec, claims: -1, times: []int64{begin, begin + 1, begin + 2, begin + 3, begin + 4}})
					})
					for i, want := range []ident.Offset{0, 0, 1, 2, 3, 4, -1} {
						ts := begin - 1 + int64(i)
						at, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, storage.ReadUncommitted)
						if err != nil || at.Offset != want {
							t.Errorf("from T%+d: %+v, %v, want %d", i-1, at, err, want)
						}
					}
					m.checkOffsets(r, rand.New(rand.NewPCG(1, 1)))
					time.Sleep(time.Hour - time.Minute)
					if r.retain(m); m.start != 0 {
						t.Errorf("before its time the log starts at %d", m.start)
					}
					time.Sleep(2 * time.Minute)
					if r.retain(m); m.start != m.end() {
						t.Errorf("the log starts at %d, want its end %d", m.start, m.end())
					}
				})
			})
		}
	}
}

// TestTimelessRecordsCountFromArrival: if no record has a time, retention counts from the batch's
// arrival, and a restart or a flush does not restart the count.
func TestTimelessRecordsCountFromArrival(t *testing.T) {
	for name, between := range map[string]func(r *rig){
		"in memory": func(*rig) {}, "restarted": (*rig).restart, "flushed": (*rig).mustFlush,
		"flushed and restarted": func(r *rig) { r.mustFlush(); r.restart() },
		"restarted and flushed": func(r *rig) { r.restart(); r.mustFlush() },
		"restored":              func(r *rig) { r.mustFlush(); r.restore(); r.mustOpen(); time.Sleep(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, claimKnobs)
				m := r.newLog("t", map[string]string{catalog.ConfigRetentionMs: "3600000"})
				r.put(m, modelBatch{times: []int64{-1, -1}})
				time.Sleep(30 * time.Minute)
				between(r)
				m.checkOffsets(r, rand.New(rand.NewPCG(1, 1)))
				time.Sleep(29 * time.Minute)
				if r.retain(m); m.start != 0 {
					t.Errorf("after 59 minutes the log starts at %d", m.start)
				}
				time.Sleep(2 * time.Minute)
				if r.retain(m); m.start != 2 {
					t.Errorf("after 61 minutes the log starts at %d, want its end", m.start)
				}
			})
		})
	}
}

// TestUnreadableRecordsCountFromArrival: bytes that their codec cannot decode hold back nothing for
// ever, neither in the log nor in an object that an earlier release wrote.
func TestUnreadableRecordsCountFromArrival(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed %v", flushed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, claimKnobs)
				tp := r.mustCreate("t", 1, map[string]string{catalog.ConfigRetentionMs: "3600000"})[0]
				b, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: 5, Value: []byte("value")}})
				if err != nil {
					t.Fatal(err)
				}
				b[22] |= protocol.CodecZstd
				protocol.SetMaxTimestamp(b, -1)
				h, err := protocol.ParseBatchHeader(b)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				req := &storage.AppendRequest{
					Partitions: []storage.PartitionAppend{{Partition: tp, Batch: b, Header: h}}, Done: func(*storage.AppendRequest) { close(done) },
				}
				r.engine().Append(req)
				<-done
				if flushed {
					r.engine().ForgetTimes(tp)
					r.mustFlush()
				}
				r.restart()
				m := &modelLog{tp: tp}
				time.Sleep(59 * time.Minute)
				if r.retain(m); m.start != 0 {
					t.Errorf("after 59 minutes the log starts at %d", m.start)
				}
				time.Sleep(2 * time.Minute)
				if r.retain(m); m.start != 1 {
					t.Errorf("after 61 minutes the log starts at %d, want its end", m.start)
				}
			})
		})
	}
}

// TestClaimedTimes_TooLargeHideNothing: a header that claims a later time than any of its records
// has is believed, but the search for the newest record looks past it.
func TestClaimedTimes_TooLargeHideNothing(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed %v", flushed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, claimKnobs)
				m := r.newLog("t", nil)
				r.put(m, modelBatch{times: []int64{100, 700}})
				r.put(m, modelBatch{claims: 9000, times: []int64{100, 500}})
				r.put(m, modelBatch{claims: 8000, times: []int64{200, 700}})
				r.put(m, modelBatch{times: []int64{-1}})
				if flushed {
					r.mustFlush()
				}
				for range 2 {
					at, err := r.engine().ListOffset(t.Context(), m.tp, storage.TimestampMax, ident.NoEpoch, storage.ReadUncommitted)
					if err != nil || at.Offset != 1 || at.Timestamp != 700 {
						t.Errorf("the newest record is %+v, %v, want 700 at 1", at, err)
					}
					m.checkOffsets(r, rand.New(rand.NewPCG(1, 1)))
					r.restart()
				}
			})
		})
	}
}

// TestClaimedRecordsThatAreNotThere: a header counts more records than there are. Lookups by time
// find the records that can be read, and go on behind them.
func TestClaimedRecordsThatAreNotThere(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed %v", flushed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, claimKnobs)
				m := r.newLog("t", nil)
				r.put(m, modelBatch{times: []int64{100, 200}})
				r.put(m, modelBatch{more: 3, claims: 900, times: []int64{300, 400}}) // at 2 to 6
				m.records = append(m.records, make([]modelRecord, 3)...)
				r.put(m, modelBatch{times: []int64{500, 600}}) // at 7
				for range 2 {
					for ts, want := range map[int64]ident.Offset{150: 1, 250: 2, 350: 3, 450: 7, 550: 8, 650: -1, storage.TimestampMax: 8} {
						at, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, storage.ReadUncommitted)
						if err != nil || at.Offset != want {
							t.Errorf("at %d: %+v, %v, want %d", ts, at, err, want)
						}
					}
					if flushed {
						r.mustFlush()
					}
					r.restart()
				}
			})
		})
	}
}

// TestI11_BackfillKeepsItsProducer: the records of a backfill are older than the time for which
// producers are remembered. The time of placement counts, wherever the producer's state comes from,
// so the same batch sent again gets the same answer as the first time.
func TestI11_BackfillKeepsItsProducer(t *testing.T) {
	for name, between := range map[string]func(r *rig){
		"in memory": func(*rig) {}, "restarted": (*rig).restart,
		"flushed": (*rig).mustFlush, "flushed and restarted": func(r *rig) { r.mustFlush(); r.restart() },
		"restarted and flushed":        func(r *rig) { r.restart(); r.mustFlush() },
		"flushed, trimmed, restarted":  func(r *rig) { r.mustFlush(); r.roll(r.mustCreate("busy", 1, nil)[0]); r.restart() },
		"restored":                     func(r *rig) { r.mustFlush(); r.restore(); r.mustOpen() },
		"restored, flushed, restarted": func(r *rig) { r.mustFlush(); r.restore(); r.mustOpen(); r.mustFlush(); r.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, byHand)
				tp := r.mustCreate("t", 1, keepAll)[0]
				b := r.batch(tp, 2, 40, 7)
				b.age = 10 * 24 * time.Hour
				turn := func() {
					t.Helper()
					if err := r.engine().Retain(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				r.mustSend(b)
				base := b.base
				turn()
				between(r)
				r.check0(tp)
				turn()
				time.Sleep(23 * time.Hour)
				turn()
				if r.mustSend(b); b.base != base {
					t.Errorf("sent again it has offset %d, not %d", b.base, base)
				}
				// A day after placement the producer is forgotten, wherever its state was
				// meanwhile.
				time.Sleep(25 * time.Hour)
				turn()
				gap := r.batch(tp, 1, 40, 7)
				gap.sequence += 5
				r.mustSend(gap)
			})
		})
	}
}

// TestI11_EarlierReleasesKnewNoArrival: a log and a state of an earlier release do not tell when
// batches arrived. Their producers count from the start that reads them, and a log that is
// continued on top of them opens.
func TestI11_EarlierReleasesKnewNoArrival(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, byHand)
		tp := r.mustCreate("t", 1, keepAll)[0]
		old, inState := r.batch(tp, 2, 40, 7), r.batch(tp, 1, 40, 8)
		old.age, inState.age = 10*24*time.Hour, 10*24*time.Hour
		producers := pstate.NewTable()
		producers.Apply(pstate.Batch{Producer: 8, FirstSequence: inState.sequence, End: 1, Placed: time.Now().Add(-inState.age).UnixMilli(), AppendTime: -1})
		state := pstate.EncodeBase(nil, &pstate.State{End: 1, Producers: producers})
		binary.LittleEndian.PutUint16(state[4:], 1)
		table := crc32.MakeTable(crc32.Castagnoli)
		binary.LittleEndian.PutUint32(state[12:], crc32.Update(crc32.Checksum(state[:12], table), table, state[16:]))
		r.kill()
		r.writeEntries(r.walEntry(inState, 0), wal.Entry{Kind: wal.KindState, Partition: tp, Start: 1, End: 1, Payload: state}, r.walEntry(old, 1))
		r.mustOpen()
		again := func(when string) {
			t.Helper()
			if err := r.engine().Retain(t.Context()); err != nil {
				t.Fatal(err)
			}
			for b, base := range map[*sent]ident.Offset{inState: 0, old: 1} {
				if r.mustSend(b); b.base != base {
					t.Errorf("%s: sent again it has offset %d, not %d: %s", when, b.base, base, b)
				}
			}
		}
		again("opened")
		r.mustSend(r.plain(tp, 1))
		r.mustFlush()
		again("flushed")
		r.mustSend(r.batch(tp, 1, 40, 9))
		r.mustFlush() // this writes a delta
		r.restart()
		again("flushed and restarted")
		r.restore()
		r.mustOpen()
		r.check0(tp)
		again("restored")
		if errors.Is(r.engine().Flush(t.Context()), storage.ErrCorrupt) {
			t.Error("the flush after a restore found damage")
		}
	})
}
