package storage_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// setLeader makes the quorum name another leadership of a partition. No command does that yet, so
// setLeader encodes the state machine, changes the bytes and decodes them again. It returns the
// resulting topic.
func (r *rig) setLeader(tp ident.TopicPartition, l catalog.Leadership) *catalog.Topic {
	r.t.Helper()
	q := r.quorum
	q.mu.Lock()
	defer q.mu.Unlock()
	b, err := q.state.EncodeSnapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	const header = 16 // metadata/frame.go
	p := new(pb.Snapshot)
	if err := proto.Unmarshal(b[header:], p); err != nil {
		r.t.Fatal(err)
	}
	for _, t := range p.Topics {
		if ident.TopicID(t.Id) == tp.Topic {
			h := t.Heads[tp.Index]
			h.Leader = &pb.Leadership{Broker: l.Broker, Incarnation: uint64(l.Incarnation), Epoch: int32(l.Epoch)}
			if r.onSetLeader != nil {
				r.onSetLeader(h)
			}
		}
	}
	body, err := proto.Marshal(p)
	if err != nil {
		r.t.Fatal(err)
	}
	b = append(b[:header:header], body...)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(body)))
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, body))
	if q.state, err = metadata.DecodeSnapshot(b); err != nil {
		r.t.Fatal(err)
	}
	t, _ := q.state.Topic(tp.Topic)
	return t
}

// tell tells storage about a topic whose leaders have changed, as a node does.
func (r *rig) tell(t *catalog.Topic) {
	r.process.applied([]metadata.Change{{Kind: metadata.LeadersChanged, Topic: t}})
}

// moveAway gives a partition to broker 2 with the next epoch.
func (r *rig) moveAway(tp ident.TopicPartition) {
	r.tell(r.setLeader(tp, catalog.Leadership{Broker: 2, Incarnation: 1000, Epoch: r.head(tp).Leader.Epoch + 1}))
}

// moveBack gives a partition to the running process with the next epoch.
func (r *rig) moveBack(tp ident.TopicPartition) {
	r.tell(r.setLeader(tp, catalog.Leadership{Broker: nodeID, Incarnation: r.engine().Incarnation(), Epoch: r.head(tp).Leader.Epoch + 1}))
}

// holdSyncs keeps every sync of the log waiting until the returned func is called.
func (r *rig) holdSyncs() (release func()) {
	r.holdsSyncs = true
	held := make(chan struct{})
	r.process.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == "datasync" {
			<-held
		}
		return nil
	})
	return func() {
		close(held)
		r.holdsSyncs = false
	}
}

func wantNotLeader(t *testing.T, what string, err error, l storage.Leader) {
	t.Helper()
	var elsewhere *storage.NotLeaderError
	if !errors.Is(err, storage.ErrNotLeader) || !errors.As(err, &elsewhere) || elsewhere.Leader != l {
		t.Errorf("%s: %v, want not the leader, but %+v", what, err, l)
	}
}

// TestI4_FencedWhileProducersWait: batches that were placed and may be durable are answered with an
// indefinite error as soon as another broker leads. Later requests are refused definitely, with the
// leader named. Nothing more is shown.
func TestI4_FencedWhileProducersWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		local, other := r.mustCreate("local", 2, nil)[0], ident.TopicPartition{}
		other = ident.TopicPartition{Topic: local.Topic, Index: 1}
		object := r.mustCreate("object", 1, classObject)[0]
		r.mustSend(r.plain(local, 3), r.plain(other, 1))
		r.bucket.Away(fault.Refused)
		inWAL := r.plain(object, 2) // durable here, and waits for its commit
		r.start(inWAL)
		synctest.Wait()
		release := r.holdSyncs()
		placed, beside := r.plain(local, 2), r.plain(other, 1)
		r.start(placed)
		r.start(beside)
		synctest.Wait()

		before := r.fetch(local, 0, 1000)
		r.moveAway(local)
		r.moveAway(object)
		synctest.Wait()
		for _, s := range []*sent{placed, inWAL} {
			if !errors.Is(s.err, storage.ErrLeadershipLost) {
				t.Errorf("waiting while the leader changed, answered with %v: %s", s.err, s)
			}
		}
		late := r.plain(local, 1)
		r.start(late)
		synctest.Wait()
		wantNotLeader(t, "produce after the change", late.err, storage.Leader{Broker: 2, Epoch: r.head(local).Leader.Epoch})
		if r.history.outcome(late) != refused {
			t.Error("the refusal is not definite")
		}
		if r.history.outcome(beside) != pending {
			t.Error("another partition of the topic was answered too")
		}
		release()
		r.wait(beside)
		if r.history.outcome(beside) != acked {
			t.Errorf("another partition of the topic: %v", beside.err)
		}
		synctest.Wait()
		q := r.fetch(local, 0, 1000)
		wantNotLeader(t, "fetch", q.Err, storage.Leader{Broker: 2, Epoch: r.head(local).Leader.Epoch})
		if q.Current.Broker != 2 || len(q.Batches) > 0 || q.HighWatermark != -1 || before.HighWatermark != 3 {
			t.Errorf("fetch of a fenced partition: leader %+v, high watermark %d", q.Current, q.HighWatermark)
		}
		r.bucket.Heal()
		r.mustFlush() // void batches hold up neither the flush nor the log
		if h := r.head(object); h.CommittedEnd != 0 {
			t.Errorf("committed up to %d under a leadership that has ended", h.CommittedEnd)
		}
	})
}

// TestI4_FencedWhileFetchesWait: a fetch that watches a partition is woken when another broker
// leads it, and is told which broker.
func TestI4_FencedWhileFetchesWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.plain(tp, 3))
		moved := make(chan struct{}, 1)
		defer r.engine().Watch([]ident.TopicPartition{tp}, moved)()
		r.moveAway(tp)
		synctest.Wait()
		select {
		case <-moved:
		default:
			t.Error("a fetch that waits is not woken")
		}
		leader := storage.Leader{Broker: 2, Epoch: r.head(tp).Leader.Epoch}
		_, err := r.engine().ListOffset(t.Context(), tp, storage.TimestampLatest, ident.NoEpoch, storage.ReadUncommitted)
		wantNotLeader(t, "ListOffsets", err, leader)
		_, _, err = r.engine().EpochEnd(tp, 0, ident.NoEpoch)
		wantNotLeader(t, "OffsetForLeaderEpoch", err, leader)
		_, err = r.engine().DeleteRecords(t.Context(), tp, 1)
		wantNotLeader(t, "DeleteRecords", err, leader)
		_, err = r.engine().LogBytes(tp)
		wantNotLeader(t, "LogBytes", err, leader)
	})
}

// TestI4_NeverLedHere: a partition that another broker leads is not open here. Its leader is named
// all the same, and the other partitions of its topic, with higher numbers, are served.
func TestI4_NeverLedHere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		ids := r.mustCreate("t", 3, nil)
		for _, tp := range ids {
			r.mustSend(r.plain(tp, 1))
		}
		r.mustFlush()
		r.kill()
		r.setLeader(ids[1], catalog.Leadership{Broker: 2, Incarnation: 1000, Epoch: 7})
		r.mustOpen()
		elsewhere, here := r.plain(ids[1], 1), r.plain(ids[2], 1)
		r.send(elsewhere, here)
		wantNotLeader(t, "produce", elsewhere.err, storage.Leader{Broker: 2, Epoch: 7})
		if here.err != nil {
			t.Errorf("partition 2: %v", here.err)
		}
		q := r.fetch(ids[1], 0, 1000)
		wantNotLeader(t, "fetch", q.Err, storage.Leader{Broker: 2, Epoch: 7})
		if n := r.engine().Totals().Partitions; n != 2 {
			t.Errorf("%d partitions are led here, want 2", n)
		}
		r.moveBack(ids[1]) // and then it is led here
		r.check()
		r.mustSend(r.plain(ids[1], 1))
	})
}

// TestI11_LedAgain: a partition that was led elsewhere opens from what the quorum and the bucket
// hold, under its new epoch, and knows its producers. The void batches are not there. A start finds
// all of it again without the bucket.
func TestI11_LedAgain(t *testing.T) {
	for name, written := range map[string]bool{"written to": true, "not written to": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				r.mustSend(r.batch(tp, 2, 40, 7))
				r.mustFlush()
				first := r.head(tp).Leader.Epoch
				release := r.holdSyncs()
				void := r.plain(tp, 4) // reaches the log, and no reader ever sees it
				r.start(void)
				synctest.Wait()
				r.moveAway(tp)
				release()
				synctest.Wait()
				r.moveBack(tp)
				r.check()
				if written {
					r.resume() // the producer's last batch is known, and the producer goes on
					q := r.fetch(tp, 2, 1000)
					h, err := protocol.ParseBatchHeader(q.Batches[0])
					if err != nil || ident.Epoch(h.LeaderEpoch) != first+2 {
						t.Errorf("written under epoch %d, %v; want %d", h.LeaderEpoch, err, first+2)
					}
					if epoch, end, err := r.engine().EpochEnd(tp, first, ident.NoEpoch); epoch != first || end != 2 || err != nil {
						t.Errorf("epoch %d ends at %d, %v; want 2", epoch, end, err)
					}
				}
				r.bucket.Away(fault.Refused)
				r.restart()
				if n := r.engine().Totals().Loading; n != 0 && written {
					t.Errorf("E13: %d partitions wait for the bucket", n)
				}
				r.bucket.Heal()
				r.check()
				if high := r.history.partitions[tp].high; !written && high != 2 {
					t.Errorf("I2: up to %d is shown, though only 2 records were acknowledged", high)
				}
				r.resume()
				r.mustFlush()
				r.check()
			})
		})
	}
}

// TestI11_LedAgainAndDiedAtOnce: nothing of the new life is durable. The state record before it and
// the batches that no reader ever saw reach exactly as far as what the other broker wrote, but are
// not what that broker wrote.
func TestI11_LedAgainAndDiedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 2, 40, 7))
		r.mustFlush()
		release := r.holdSyncs()
		void := r.batch(tp, 4, 40, 9)
		r.start(void)
		synctest.Wait()
		r.moveAway(tp)
		release()
		synctest.Wait()
		written := make(chan struct{})
		// The next call is the new life's record.
		r.process.disk.SetHook(func(crashfs.Call) error { <-written; return nil })
		// Broker 2 wrote four records, and deleted all.
		r.onSetLeader = func(h *pb.Head) { h.LogStart, h.CommittedEnd, h.Ranges = 6, 6, nil }
		r.history.advancing(tp, 6)
		r.moveBack(tp)
		synctest.Wait()
		r.process.die()
		close(written)
		r.crash()
		r.onSetLeader = nil
		r.mustOpen()
		r.check()
		r.send(void)
		if void.err != nil || void.base != 6 {
			t.Errorf("sent again, a batch that is nowhere is acknowledged at %d, %v; want 6", void.base, void.err)
		}
	})
}

// TestI11_LedAgainAndNothingRecorded: as above, but the first life left no state record either,
// since none of its batches was committed. Its batches begin at offset 0 and are not what the other
// broker wrote, however far that reaches.
func TestI11_LedAgainAndNothingRecorded(t *testing.T) {
	for _, c := range []struct {
		end       int64
		restarted bool // while the other broker led it
	}{{6, false}, {10, false}, {10, true}} {
		inBubble(t, func(t *testing.T) {
			end := c.end
			r := newRig(t, seed(t), byHand)
			tp := r.mustCreate("t", 1, classObject)[0]
			r.bucket.Away(fault.Refused)
			void := r.batch(tp, 6, 40, 9) // durable here, and no reader ever sees it
			r.start(void)
			synctest.Wait()
			r.moveAway(tp)
			synctest.Wait()
			if c.restarted {
				r.restart()
			}
			written := make(chan struct{})
			// The next call is the new life's record.
			r.process.disk.SetHook(func(crashfs.Call) error { <-written; return nil })
			// Broker 2 wrote so many, and deleted all.
			r.onSetLeader = func(h *pb.Head) { h.LogStart, h.CommittedEnd, h.Ranges = end, end, nil }
			r.history.advancing(tp, ident.Offset(end))
			r.moveBack(tp)
			synctest.Wait()
			r.process.die()
			close(written)
			r.crash()
			r.onSetLeader = nil
			r.bucket.Heal()
			r.mustOpen()
			r.check()
			r.send(void)
			if void.err != nil || void.base != ident.Offset(end) {
				t.Errorf("sent again, a batch that is nowhere is acknowledged at %d, %v; want %d", void.base, void.err, end)
			}
		})
	}
}

// TestI4_OldLeadershipsAreIgnored: a leadership that was applied before, or is older, changes
// nothing.
func TestI4_OldLeadershipsAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.plain(tp, 1))
		r.mustFlush()
		var said []*catalog.Topic
		say := func(l catalog.Leadership) {
			l.Epoch = r.head(tp).Leader.Epoch + 1
			said = append(said, r.setLeader(tp, l))
		}
		own, other := catalog.Leadership{Broker: nodeID, Incarnation: r.engine().Incarnation()}, catalog.Leadership{Broker: 2, Incarnation: 1000}
		say(other)
		say(own)
		r.tell(said[1]) // the one in between was never announced
		r.check()
		release := r.holdSyncs()
		waiting := r.plain(tp, 1)
		r.start(waiting)
		synctest.Wait()
		for _, again := range []*catalog.Topic{said[0], said[1], said[0]} {
			r.tell(again)
			if r.history.outcome(waiting) != pending {
				t.Fatalf("answered because of an old leadership: %v", waiting.err)
			}
		}
		release()
		r.wait(waiting)
		if r.history.outcome(waiting) != acked {
			t.Errorf("not acknowledged: %v", waiting.err)
		}
		say(other)
		r.tell(said[2])
		r.tell(said[1])
		q := r.fetch(tp, 0, 1000)
		wantNotLeader(t, "after the last", q.Err, storage.Leader{Broker: 2, Epoch: r.head(tp).Leader.Epoch})
	})
}

// TestE21_MovesWhileAFlushIsOnItsWay: the quorum refuses what was uploaded under a leadership that
// has ended meanwhile. The flush of the other partitions ends, and the partition's log is given
// back.
func TestE21_MovesWhileAFlushIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		ids := r.mustCreate("t", 2, nil)
		r.mustSend(r.plain(ids[0], 3), r.plain(ids[1], 3))
		moved := false
		r.onCreate = func(string) {
			if !moved {
				moved = true
				r.moveAway(ids[0])
			}
		}
		r.mustFlush()
		if h := r.head(ids[0]); h.CommittedEnd != 0 {
			t.Errorf("committed up to %d under a leadership that has ended", h.CommittedEnd)
		}
		if h := r.head(ids[1]); h.CommittedEnd != 3 {
			t.Errorf("the other partition is committed up to %d, want 3", h.CommittedEnd)
		}
		r.onCreate = nil
		r.roll(ids[1])
	})
}

// TestI4_AppendsOfAnOldLeadership: a caller that works under a leadership, as a coordinator does,
// is refused under the next one, even if the partition is led here again.
func TestI4_AppendsOfAnOldLeadership(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		old := r.head(tp).Leader.Epoch
		r.moveAway(tp)
		r.moveBack(tp)
		for epoch := old; epoch <= old+3; epoch++ {
			req := &storage.AppendRequest{
				Epoch: epoch, CheckEpoch: true, Done: func(*storage.AppendRequest) {},
				Partitions: []storage.PartitionAppend{r.encode(r.plain(tp, 1))},
			}
			r.engine().Append(req)
			synctest.Wait()
			if err := req.Partitions[0].Err; (err == nil) != (epoch == old+2) {
				t.Errorf("under epoch %d of %d: %v", epoch, old+2, err)
			} else if err != nil {
				wantNotLeader(t, "append", err, storage.Leader{Broker: nodeID, Epoch: old + 2})
			}
		}
	})
}
