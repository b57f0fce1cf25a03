package group

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkCommit: a simple consumer commits one partition, durable at once.
func BenchmarkCommit(b *testing.B) {
	s := NewShard(DefaultConfig(), NewMemory(1<<40))
	b.ReportAllocs()
	for b.Loop() {
		e := s.Commit(start, CommitRequest{Group: "g", Generation: -1, Retention: -1, Partitions: []CommitPartition{{Topic: "orders"}}})
		s.Written(start, e.Writes[0].Token, nil)
	}
}

// BenchmarkHeartbeat: a heartbeat among the timers of 10,000 members.
func BenchmarkHeartbeat(b *testing.B) {
	s := NewShard(DefaultConfig(), NewMemory(1<<40))
	for i := range 10_000 {
		s.Join(start, JoinRequest{Waiter: Waiter(i), Group: fmt.Sprint("g", i), FreshID: "1", ClientID: "c", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"range", subscribe("t")}}})
	}
	s.Tick(start.Add(3 * time.Second))
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if err := s.Heartbeat(start.Add(time.Duration(i)), HeartbeatRequest{Group: fmt.Sprint("g", i%10_000), MemberID: "c-1", Generation: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRebalance: a whole rebalance of a group of 1,000 members, which all join again and sync.
func BenchmarkRebalance(b *testing.B) {
	s := NewShard(DefaultConfig(), NewMemory(1<<40))
	const size = 1000
	join := func(i int, id string) {
		s.Join(start, JoinRequest{Waiter: Waiter(i), Group: "g", MemberID: id, FreshID: fmt.Sprint(i), ClientID: "c", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"range", subscribe("t")}, {"rr", subscribe("t")}}})
	}
	for i := range size {
		join(i, "")
	}
	s.Tick(start.Add(3 * time.Second))
	s.Tick(start.Add(63 * time.Second))
	generation := int32(1)
	b.ReportAllocs()
	for b.Loop() {
		assignments := make(map[string][]byte, size)
		for i := range size {
			assignments[fmt.Sprint("c-", i)] = make([]byte, 20)
		}
		for i := range size {
			e := s.Sync(start, SyncRequest{Waiter: Waiter(i), Group: "g", MemberID: fmt.Sprint("c-", i), Generation: generation, Assignments: assignments})
			for _, w := range e.Writes {
				s.Written(start, w.Token, nil)
			}
		}
		if s.Describe("g").State != Stable {
			b.Fatal("not stable")
		}
		for i := range size {
			join(i, fmt.Sprint("c-", i))
		}
		generation++
	}
}

// BenchmarkReplay: 100,000 records are loaded, 1,000 partitions committed 100 times each.
func BenchmarkReplay(b *testing.B) {
	var log []Record
	for i := range 100_000 {
		log = append(log, offsetRecord("payments", PartitionName{"orders", int32(i % 1000)}, &offset{at: 1, commit: int64(i), expire: -1}))
	}
	b.ReportAllocs()
	for b.Loop() {
		load(b, DefaultConfig(), log)
	}
}
