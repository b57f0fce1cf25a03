package storage_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// One workload exercises everything that storage does, in two lives with a kill in between. It runs
// once to count its calls, and then again and again with a different call failing each time.

// workload is the fixed program. It ends early when the process dies.
type workload struct {
	r       *rig
	inLife  func(life int, r *rig) // called before each start
	a, b, c []ident.TopicPartition
}

// lives is how many starts the workload makes.
const lives = 2

func (w *workload) run() {
	if !w.start(1) {
		return
	}
	steps := []func(){
		w.topics, w.produce, w.produce, w.flush, w.produce, w.advance, w.produce,
		func() { w.restarted() },
		w.produce, w.deleteWhileUnflushed, w.flush, w.produce, w.flush, w.produce, w.flush, w.pass, w.collect, w.produce,
	}
	for _, step := range steps {
		if !w.r.alive() {
			return
		}
		step()
	}
}

func (w *workload) start(life int) bool {
	if w.inLife != nil {
		w.inLife(life, w.r)
	}
	return w.r.open() == nil
}

func (w *workload) restarted() {
	w.r.kill()
	w.start(2)
}

func (w *workload) topics() {
	for name, to := range map[string]*[]ident.TopicPartition{"a": &w.a, "b": &w.b, "c": &w.c} {
		partitions, configs := int32(2), map[string]string(nil)
		if name == "b" {
			partitions, configs = 1, classObject
		}
		t, ok := w.r.createTopic(name, partitions, configs)
		if !ok {
			return
		}
		for i := range partitions {
			*to = append(*to, ident.TopicPartition{Topic: t.ID, Index: i})
		}
	}
}

// produce sends three requests that overlap in time.
func (w *workload) produce() {
	r := w.r
	first := []*sent{r.batch(w.a[0], 2, 700, 1), r.plain(w.a[1], 3), r.batch(w.b[0], 1, 60, 1)}
	second := []*sent{r.batch(w.a[0], 1, 300, 1), r.batch(w.a[1], 1, 900, 2)}
	r.start(first...)
	r.start(second...)
	both := append(first, second...)
	if !r.history.deleted[w.c[0].Topic] {
		third := []*sent{r.plain(w.c[0], 1), r.batch(w.c[1], 2, 500, 3)}
		r.start(third...)
		both = append(both, third...)
	}
	if !r.wait(both...) && r.alive() {
		r.t.Error("not answered within a minute")
	}
	if r.alive() {
		r.observe()
	}
}

func (w *workload) flush() { w.r.flush() }

func (w *workload) advance() {
	if h := w.r.head(w.a[1]); h.CommittedEnd > h.LogStart+2 {
		w.r.advance(w.a[1], h.LogStart+2)
	}
}

func (w *workload) deleteWhileUnflushed() { w.r.deleteTopic(w.c[0].Topic) }

// pass lets time pass, so that timers fire.
func (w *workload) pass() { time.Sleep(10 * time.Second) }

func (w *workload) collect() {
	w.r.snapshot()
	time.Sleep(2 * w.r.deleteDelay)
	if w.r.alive() {
		_ = w.r.engine().Retain(w.r.t.Context())
		_ = w.r.collectGarbage(w.r.t.Context())
	}
}

// aftermath checks what must hold whatever happened: after the next start everything is there and
// clients go on, and starting twice more ends in the same state (I16).
func aftermath(r *rig, cut bool) {
	r.t.Helper()
	r.end(cut)
	r.bucket.Heal()
	r.quorum.decide(nil)
	r.mustOpen()
	r.check()
	r.resume()
	r.check()
	r.restart()
	r.mustFlush()
	r.check()
	r.resume()
	r.end(!cut)
	r.mustOpen()
	r.check()
	r.mustFlush()
	if n := r.tails(); n != 0 {
		r.t.Errorf("%d sealed tails are left after a flush", n)
	}
	checkObjects(r)
	r.restart()
	r.check()
}

// checkObjects compares the bucket with the quorum: live objects are there, and deleted objects
// were not live (I10).
func checkObjects(r *rig) {
	r.t.Helper()
	there := map[ident.ObjectID]bool{}
	for _, key := range r.keys() {
		parts, err := object.ParseKey(key)
		if err != nil {
			r.t.Errorf("key %s: %v", key, err)
		}
		there[parts.Object] = true
	}
	r.quorum.view(func(s *metadata.State) {
		for _, t := range s.Topics() {
			for _, h := range s.Heads(t.ID) {
				for i := range h.Ranges {
					if id := h.Ranges[i].Object; !there[id] {
						r.t.Errorf("I10: %s names object %s, which is not in the bucket", h.Partition, id)
					}
				}
				for _, id := range []ident.ObjectID{h.Manifest.Object, h.State.Object, h.Base.Object} {
					if id != 0 && !there[id] {
						r.t.Errorf("I10: the head of %s names object %s, which is not in the bucket", h.Partition, id)
					}
				}
			}
		}
	})
}

// counts is how many calls of each kind a run without faults makes.
type counts struct {
	disk     [lives + 1]int // by life
	bucket   [bucket.OpCount]int
	commands int
}

func countCalls(t *testing.T, seed uint64) (c counts) {
	inBubble(t, func(t *testing.T) {
		r := newClosedRig(t, seed)
		w := &workload{r: r, inLife: func(life int, r *rig) {
			if life > 1 {
				c.disk[life-1] = len(r.previous.Calls())
			}
		}}
		w.run()
		if !r.alive() {
			t.Fatal("the workload does not run to its end")
		}
		c.disk[lives] = len(r.process.disk.Calls())
		for op := range c.bucket {
			c.bucket[op] = r.bucket.Calls(bucket.Op(op))
		}
		c.commands = r.quorum.commands()
		aftermath(r, false)
	})
	t.Logf("calls: disk %v, bucket %v, commands %d", c.disk[1:], c.bucket, c.commands)
	return c
}

// stride visits 1..n: all of them in the long run, otherwise about visits of them, beginning where
// the seed says.
func stride(n, visits int, seed uint64) (out []int) {
	step := 1
	if !long() {
		step = max(1, n/visits)
	}
	for i := 1 + int(seed%uint64(step)); i <= n; i += step {
		out = append(out, i)
	}
	return out
}

// TestI1_I16_DieAtEveryDiskCall: the process dies, or the power is cut, at each call to the disk in
// each life.
func TestI1_I16_DieAtEveryDiskCall(t *testing.T) {
	seed := seed(t)
	c := countCalls(t, seed)
	for life := 1; life <= lives; life++ {
		for _, n := range stride(c.disk[life], 10, seed) {
			t.Run(fmt.Sprintf("life%d/call%d", life, n), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newClosedRig(t, seed+uint64(n))
					w := &workload{r: r, inLife: func(l int, r *rig) {
						if l == life {
							r.disk.KillAt(n)
						}
					}}
					w.run()
					aftermath(r, n%3 != 0)
				})
			})
		}
	}
}

// TestI1_I16_FailAtEveryDiskCall: each call to the disk fails once. A failure that the process
// cannot go on with ends the process.
func TestI1_I16_FailAtEveryDiskCall(t *testing.T) {
	seed := seed(t)
	c := countCalls(t, seed)
	for life := 1; life <= lives; life++ {
		for i, n := range stride(c.disk[life], 8, seed+1) {
			err := error(crashfs.EIO)
			if i%3 == 2 {
				err = vfs.ErrNoSpace
			}
			t.Run(fmt.Sprintf("life%d/call%d/%v", life, n, err), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newClosedRig(t, seed+uint64(n))
					w := &workload{r: r, inLife: func(l int, r *rig) {
						if l == life {
							r.disk.FailAt(n, err)
						}
					}}
					w.run()
					aftermath(r, n%2 == 0)
				})
			})
		}
	}
}

// TestI10_E28_FailAtEveryBucketCall: each call to the bucket fails in one of the ways in which
// stores fail.
func TestI10_E28_FailAtEveryBucketCall(t *testing.T) {
	seed := seed(t)
	c := countCalls(t, seed)
	faults := []fault.Fault{
		fault.Lost, fault.Delayed, fault.Busy, fault.Reset, fault.Refused, fault.Hang, fault.Denied,
		fault.Broken, fault.Truncate, fault.Slow,
	}
	for op := range bucket.OpCount {
		for i, n := range stride(c.bucket[op], 9, seed+2) {
			for k, f := range faults {
				if !long() && k != (i+int(seed))%len(faults) {
					continue
				}
				t.Run(fmt.Sprintf("%s%d/fault%d", op, n, f), func(t *testing.T) {
					inBubble(t, func(t *testing.T) { failBucketCall(t, seed, op, n, f) })
				})
			}
		}
	}
}

func failBucketCall(t *testing.T, seed uint64, op bucket.Op, n int, f fault.Fault) {
	r := newClosedRig(t, seed)
	r.bucket.FailAt(op, n, f)
	w := &workload{r: r}
	w.run()
	if !r.alive() {
		t.Error("a fault of the bucket ended the process")
	}
	r.kill()
	if err := r.bucket.Release(context.Background()); err != nil { // lets delayed calls arrive
		t.Error(err)
	}
	aftermath(r, n%2 == 0)
}

// TestI1_E28_EveryCommandGoesWrong: each command to the quorum is lost, or its answer is lost, or
// the process dies before or after it.
func TestI1_E28_EveryCommandGoesWrong(t *testing.T) {
	seed := seed(t)
	c := countCalls(t, seed)
	names := map[fate]string{answerLost: "answer lost", commandLost: "command lost", killBefore: "killed before", killAfter: "killed after"}
	for _, n := range stride(c.commands, 11, seed) {
		for f := answerLost; f <= killAfter; f++ {
			if !long() && (n+int(f)+int(seed))%2 == 0 {
				continue
			}
			t.Run(fmt.Sprintf("command%d/%s", n, names[f]), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newClosedRig(t, seed)
					r.quorum.decide(func(i int, _ *pb.Command) fate {
						if i == n {
							return f
						}
						return carried
					})
					w := &workload{r: r}
					w.run()
					aftermath(r, n%2 == 0)
				})
			})
		}
	}
}
