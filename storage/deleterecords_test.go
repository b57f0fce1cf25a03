package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

// deleteRecords deletes records and applies the answer to the model.
func (r *rig) deleteRecords(m *modelLog, before ident.Offset) {
	r.t.Helper()
	start, err := r.engine().DeleteRecords(context.Background(), m.tp, before)
	if err != nil {
		r.t.Fatalf("delete records of %s below %d: %v", m.tp, before, err)
	}
	if before == storage.HighWatermark {
		before = m.end()
	}
	m.start = max(m.start, before)
	if start != m.start {
		r.t.Fatalf("delete records of %s below %d: log start %d, want %d", m.tp, before, start, m.start)
	}
}

// Deletes up to every target, over data in the manifest, in heads and in the WAL, in the middle of
// batches and at their edges, and checks what a start finds after each deletion.
func TestDeleteRecords(t *testing.T) {
	random := rand.New(rand.NewPCG(seed(t), 1))
	for _, before := range []ident.Offset{0, 1, 6, 13, 30, 44, 45, 46, 47, 49, 50, storage.HighWatermark} {
		for _, configs := range []map[string]string{nil, classObject, {catalog.ConfigCleanupPolicy: "compact"}} {
			t.Run(fmt.Sprint(before, configs), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newRig(t, seed(t), byHand)
					m := r.newLog("a", configs)
					for i := range 10 {
						r.fill(m, 1, 5, 40)
						if i < 8 {
							r.mustFlush()
						}
					}
					r.deleteRecords(m, before)
					r.deleteRecords(m, before) // changes nothing, and gives the same answer
					r.deleteRecords(m, 0)      // never moves the log start back
					m.checkFetch(r, random)
					m.checkOffsets(r, random)
					r.crash()
					r.mustOpen()
					m.checkFetch(r, random)
					m.checkOffsets(r, random)
					r.fill(m, 1, 5, 40)
					r.retain(m) // releases the ranges that the manifest names
					r.mustFlush()
					m.checkFetch(r, random)
					r.restore()
					r.mustOpen()
					time.Sleep(time.Minute)
					m.checkFetch(r, random)
					if h := r.head(m.tp); h.LogStart != m.start {
						t.Errorf("log start %d in the bucket's metadata, want %d", h.LogStart, m.start)
					}
				})
			})
		}
	}
}

func TestDeleteRecordsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, byHand)
		m, held := r.newLog("a", nil), r.mustCreate("held", 1, classObject)[0]
		r.fill(m, 2, 5, 40)
		r.bucket.Away(fault.Refused)
		r.start(r.batch(held, 3, 40, 1)) // durable, not shown
		time.Sleep(time.Second)
		for _, c := range []struct {
			tp     ident.TopicPartition
			before ident.Offset
			want   error
		}{
			{m.tp, 11, storage.ErrOffsetOutOfRange},
			{m.tp, -2, storage.ErrOffsetOutOfRange},
			{m.tp, -9, storage.ErrOffsetOutOfRange},
			{held, 1, storage.ErrOffsetOutOfRange}, // I5: above the high watermark
			{ident.TopicPartition{Topic: m.tp.Topic, Index: 1}, 0, storage.ErrUnknownPartition},
			{ident.TopicPartition{}, storage.HighWatermark, storage.ErrUnknownPartition},
		} {
			if start, err := r.engine().DeleteRecords(t.Context(), c.tp, c.before); !errors.Is(err, c.want) || start != -1 {
				t.Errorf("%s below %d: %d, %v, want %v", c.tp, c.before, start, err, c.want)
			}
		}
		if start, err := r.engine().DeleteRecords(t.Context(), held, storage.HighWatermark); start != 0 || err != nil {
			t.Errorf("nothing is shown: %d, %v", start, err)
		}
		r.sees(m)
		if m.start != 0 {
			t.Errorf("a refusal moved the log start to %d", m.start)
		}
		r.bucket.Away(fault.None)
		r.resume()
		if err := r.engine().Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.engine().DeleteRecords(t.Context(), m.tp, 1); !errors.Is(err, storage.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// I13: an answer means that the quorum has the new log start. A command whose outcome is unknown is
// repeated; a command that dies with the process was not answered.
func TestDeleteRecordsInDoubt(t *testing.T) {
	for _, f := range []fate{answerLost, commandLost, killBefore, killAfter} {
		t.Run(fmt.Sprint("fate ", f), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, byHand)
				m := r.newLog("a", nil)
				r.fill(m, 2, 5, 40)
				first := once()
				r.quorum.decide(losing("AdvanceLogStart", f, first))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start, err := r.engine().DeleteRecords(ctx, m.tp, 7)
				r.quorum.decide(nil)
				answered := f == answerLost || f == commandLost
				if answered != (err == nil) || answered && start != 7 {
					t.Fatalf("%d, %v", start, err)
				}
				if !answered && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v: want the deadline", err)
				}
				r.crash()
				r.mustOpen()
				want := ident.Offset(7)
				if f == killBefore {
					want = 0
				}
				if r.sees(m); m.start != want {
					t.Errorf("log start %d after a start, want %d", m.start, want)
				}
				m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
			})
		})
	}
}

// The topic is deleted, or this broker is fenced, while the command is on its way.
func TestDeleteRecordsOvertaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, byHand)
		m, fenced := r.newLog("a", nil), r.newLog("b", nil)
		r.fill(m, 1, 5, 40)
		r.fill(fenced, 1, 5, 40)
		first := once()
		r.quorum.decide(func(_ int, cmd *pb.Command) fate {
			if metadata.CommandName(cmd) == "AdvanceLogStart" && first() {
				go r.deleteTopic(m.tp.Topic)
				return commandLost
			}
			return carried
		})
		if start, err := r.engine().DeleteRecords(t.Context(), m.tp, 5); !errors.Is(err, storage.ErrUnknownPartition) || start != -1 {
			t.Errorf("topic deleted meanwhile: %d, %v", start, err)
		}
		r.quorum.decide(nil)
		r.quorum.apply(metadata.NewRegisterIncarnation(nodeID, directory, r.engine().Incarnation(), 0))
		if start, err := r.engine().DeleteRecords(t.Context(), fenced.tp, 5); !errors.Is(err, storage.ErrNotLeader) || start != -1 {
			t.Errorf("I4: fenced: %d, %v", start, err)
		}
	})
}

// TestE23_DeleteRecordsWhileItIsFlushed: everything is deleted while its bundle is being uploaded.
// The commit finds it void, and the WAL is trimmed (E12, I9).
func TestE23_DeleteRecordsWhileItIsFlushed(t *testing.T) {
	for _, before := range []ident.Offset{13, 20, storage.HighWatermark} {
		inBubble(t, func(t *testing.T) {
			r := newRig(t, seed(t), byHand)
			m, busy := r.newLog("a", nil), r.mustCreate("busy", 1, nil)[0]
			r.fill(m, 2, 10, 40)
			first := once()
			r.onCreate = func(string) {
				if first() {
					r.fill(m, 1, 10, 40) // persisted, not in this flush
					r.deleteRecords(m, before)
				}
			}
			r.mustFlush()
			if h := r.head(m.tp); h.LogStart != m.start || h.CommittedEnd < m.start {
				t.Errorf("head %+v, log start is %d", h, m.start)
			}
			r.roll(busy)
			r.checkTrimmed()
			m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
			r.restart()
			m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		})
	}
}
