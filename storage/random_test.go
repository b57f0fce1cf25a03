package storage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// dangers counts the dangers that a campaign really met: a campaign that met too few shows nothing.
type dangers map[string]int

// TestI1_I2_I5_I11_RandomFaults runs seeded programs that do everything at once, over a store and a
// quorum that fail now and then and a broker that dies, and checks all of it against the history.
func TestI1_I2_I5_I11_RandomFaults(t *testing.T) {
	first, count := seed(t), uint64(6)
	if long() {
		count = 300
	}
	met := dangers{}
	for s := first; s < first+count; s++ {
		t.Run(fmt.Sprintf("seed%d", s), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { randomProgram(t, s, met, false) })
		})
	}
	for _, danger := range []string{"killed", "cut", "away", "deleted", "advanced", "unknown", "disk failed"} {
		if met[danger] == 0 && long() {
			t.Errorf("the campaign never met: %s", danger)
		}
	}
	t.Log(met)
}

// TestI1_I8_I9_RandomFaultsBesideRefusals is the same with a quorum that refuses now one partition
// and then another. The refused partition becomes stuck, is carried forward in the log, and goes
// on.
func TestI1_I8_I9_RandomFaultsBesideRefusals(t *testing.T) {
	first, count := seed(t), uint64(6)
	if long() {
		count = 300
	}
	met := dangers{}
	for s := first; s < first+count; s++ {
		t.Run(fmt.Sprintf("seed%d", s), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { randomProgram(t, s, met, true) })
		})
	}
	for _, danger := range []string{"refused", "stuck", "carried", "killed", "cut"} {
		if met[danger] == 0 {
			t.Errorf("the campaign never met: %s", danger)
		}
	}
	t.Log(met)
}

// program is one seeded run.
type program struct {
	refusals bool // now and then the quorum refuses all ranges of a partition
	r        *rig
	rng      *rand.Rand
	met      dangers
	topics   [][]ident.TopicPartition
	open     []*sent // sent and not waited for yet
}

func randomProgram(t *testing.T, seed uint64, met dangers, refusals bool) {
	rng := rand.New(rand.NewPCG(seed, 7))
	p := &program{r: newRig(t, seed), rng: rng, met: met, refusals: refusals}
	r := p.r
	for i := range 3 {
		configs := map[string]string(nil)
		if i == 2 {
			configs = classObject
		}
		p.topics = append(p.topics, r.mustCreate(fmt.Sprint("t", i), 2, configs))
	}
	p.misfortune()
	for range 50 {
		if p.step(); refusals {
			p.refuse()
		}
		if r.process == nil || !r.alive() {
			p.restart()
		}
		if t.Failed() {
			return
		}
	}
	r.kill()
	r.bucket.Heal()
	r.quorum.decide(nil)
	r.quorum.change(nil)
	if err := r.bucket.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustOpen()
	aftermath(r, rng.IntN(2) == 0)
}

// misfortune sets what fails, and how often.
func (p *program) misfortune() {
	r, rng := p.r, p.rng
	for _, f := range []fault.Fault{fault.Lost, fault.Delayed, fault.Busy, fault.Refused, fault.Slow, fault.Hang} {
		r.bucket.Chance(bucket.OpCreate, f, 0.03)
	}
	r.bucket.Chance(bucket.OpReadAt, fault.Broken, 0.05)
	r.bucket.Chance(bucket.OpDelete, fault.Lost, 0.1)
	lots := rand.New(rand.NewPCG(rng.Uint64(), 8))
	r.quorum.decide(func(int, *pb.Command) fate { // called under the quorum's lock
		switch n := lots.IntN(100); {
		case n < 4:
			return answerLost
		case n < 8:
			return commandLost
		case n < 9:
			return killBefore
		case n < 10:
			return killAfter
		}
		return carried
	})
}

func (p *program) step() {
	r, rng := p.r, p.rng
	switch n := rng.IntN(100); {
	case n < 55:
		p.produce()
	case n < 65:
		r.flush()
	case n < 72:
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
	case n < 78:
		p.collect()
		r.observe()
	case n < 82:
		p.advance()
	case n < 84:
		p.replaceTopic()
	case n < 87:
		p.met["away"]++
		r.bucket.Away([]fault.Fault{fault.Refused, fault.Hang, fault.Busy}[rng.IntN(3)])
	case n < 92:
		r.bucket.Away(fault.None)
	case n < 94:
		p.met["disk failed"]++
		r.disk0().FailAt(len(r.disk0().Calls())+1+rng.IntN(12), crashfs.EIO)
	case n < 96:
		r.disk0().KillAt(len(r.disk0().Calls()) + 1 + rng.IntN(12))
	default:
		p.restart()
	}
}

// refuse changes now and then which partition's ranges the quorum refuses.
func (p *program) refuse() {
	if p.r.alive() {
		p.met["stuck"] += len(p.r.engine().Stuck())
		p.met["carried"] += p.r.engine().CarriedBatches()
	}
	switch n := p.rng.IntN(100); {
	case n < 15:
		topic := p.topics[p.rng.IntN(len(p.topics))]
		p.met["refused"]++
		p.r.alterRanges(topic[p.rng.IntN(len(topic))], []func(*pb.CommitRange){
			func(c *pb.CommitRange) { c.Range.Epoch += 7 },
			func(c *pb.CommitRange) { c.Range.Start = c.Range.End + 1 },
			func(c *pb.CommitRange) { c.Range.Start++ },
		}[p.rng.IntN(3)])
	case n < 20:
		p.r.quorum.change(nil)
	}
}

// produce sends a request of a few batches; half of the time it does not wait.
func (p *program) produce() {
	r, rng := p.r, p.rng
	var batches []*sent
	used := map[ident.TopicPartition]bool{}
	for range 1 + rng.IntN(4) {
		topic := p.topics[rng.IntN(len(p.topics))]
		tp := topic[rng.IntN(len(topic))]
		if used[tp] {
			continue
		}
		used[tp] = true
		producer := int64(rng.IntN(4)) - 1
		if p.refusals && r.history.inFlight(tp, producer) > 0 {
			// A client sends a refused batch again before it sends more. Of several batches in
			// flight the first may be refused and the second taken, as in Apache Kafka: an unknown
			// producer may begin with any sequence.
			producer = -1
		}
		if r.history.inFlight(tp, producer) >= 5 {
			producer = -1 // no client has more than five in flight
		}
		size := 20 + rng.IntN(600)
		if p.refusals {
			size *= 10 // segments fill, and stuck batches hold them
		}
		batches = append(batches, r.batch(tp, 1+rng.IntN(4), size, producer))
	}
	r.start(batches...)
	p.open = append(p.open, batches...)
	if rng.IntN(2) == 0 {
		p.collect()
	}
}

// collect waits a little for the open batches. Those that an outage holds up stay open.
func (p *program) collect() {
	deadline := time.NewTimer(2 * time.Second)
	defer deadline.Stop()
	for i, s := range p.open {
		select {
		case <-s.done:
		case <-deadline.C:
			p.open = p.open[i:]
			return
		}
	}
	p.open = nil
}

func (p *program) advance() {
	topic := p.topics[p.rng.IntN(len(p.topics))]
	tp := topic[p.rng.IntN(len(topic))]
	if !p.r.observePartition(tp) {
		return
	}
	if s := p.r.history.partitions[tp]; s != nil && s.high > s.logStart {
		p.met["advanced"]++
		p.r.advance(tp, s.logStart+1+ident.Offset(p.rng.IntN(int(s.high-s.logStart))))
	}
}

func (p *program) replaceTopic() {
	i := p.rng.IntN(len(p.topics))
	if id := p.topics[i][0].Topic; !p.r.history.deleted[id] {
		p.met["deleted"]++
		p.r.deleteTopic(id)
	}
	if !p.r.alive() {
		return
	}
	t, ok := p.r.createTopic(fmt.Sprintf("t%d-%d", i, p.r.topics), 2, nil)
	if ok {
		p.topics[i] = []ident.TopicPartition{{Topic: t.ID}, {Topic: t.ID, Index: 1}}
	}
}

// restart kills the process or cuts the power, starts until a start succeeds, and lets clients go
// on.
func (p *program) restart() {
	r := p.r
	if p.rng.IntN(2) == 0 {
		p.met["killed"]++
		r.kill()
	} else {
		p.met["cut"]++
		r.crash()
	}
	p.open = nil
	for tries := 0; r.open() != nil; tries++ {
		if tries > 100 {
			r.t.Fatalf("does not start: %v", r.open())
		}
	}
	for _, s := range r.history.unanswered() {
		p.met["unknown"]++
		r.start(s)
		p.open = append(p.open, s)
	}
	p.collect()
	if r.alive() {
		r.observe()
	}
}
