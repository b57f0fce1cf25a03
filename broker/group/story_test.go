package group

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
)

var update = flag.Bool("update", false, "write the stories' answers anew; read the diff before you believe it")

// TestStories plays the scripts of testdata/stories. A line is a command, and the indented lines
// below it are all that follows from it: writes, answers, the result of a query.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("played:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// play runs a script and returns it together with the answers.
func play(t *testing.T, script string) string {
	var out bytes.Buffer
	cfg := DefaultConfig()
	cfg.InitialRebalanceDelay = 0
	r := newRig(t, cfg)
	defer func() {
		if t.Failed() {
			t.Logf("played until here:\n%s", &out)
		}
	}()
	r.say = func(line string) { fmt.Fprintln(&out, "    "+line) }
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		c := command{r: r, name: words[0], args: make(map[string]string)}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			c.args[key] = value
		}
		if !c.run() {
			t.Fatalf("line %d: %q is no command", i+1, line)
		}
		for key := range c.args {
			t.Fatalf("line %d: %q is not understood", i+1, key)
		}
	}
	return out.String()
}

// command is one line of a script.
type command struct {
	r    *rig
	name string
	args map[string]string
}

func (c command) arg(name, otherwise string) string {
	v, ok := c.args[name]
	delete(c.args, name)
	if !ok {
		return otherwise
	}
	return v
}

func (c command) flag(name string) bool {
	_, ok := c.args[name]
	delete(c.args, name)
	return ok
}

func (c command) number(name string, otherwise int) int {
	n, err := strconv.Atoi(c.arg(name, strconv.Itoa(otherwise)))
	if err != nil {
		c.r.t.Fatal(err)
	}
	return n
}

func (c command) span(name, otherwise string) time.Duration {
	d, err := time.ParseDuration(c.arg(name, otherwise))
	if err != nil {
		c.r.t.Fatal(err)
	}
	return d
}

func (c command) optional(name string) *string {
	if v, ok := c.args[name]; ok {
		delete(c.args, name)
		return &v
	}
	return nil
}

// list splits a value at its commas.
func (c command) list(name string) []string {
	if v := c.arg(name, ""); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// topicID reads a topic and its id in a script: all bytes of the id are the number after '#', or 0
// without one.
func topicID(s string) (string, ident.TopicID) {
	name, number, _ := strings.Cut(s, "#")
	n, _ := strconv.Atoi(number)
	return name, ident.TopicID(bytes.Repeat([]byte{byte(n)}, 16))
}

// partition reads a partition, for example topic-0 or topic#1-0.
func (c command) partition(s string) (PartitionName, ident.TopicID) {
	topic, index, _ := strings.Cut(s, "-")
	n, err := strconv.Atoi(index)
	if err != nil {
		c.r.t.Fatal(err)
	}
	name, id := topicID(topic)
	return PartitionName{name, int32(n)}, id
}

// topics reads topics=a#1,b#2: the topics that exist. Without it every topic exists.
func (c command) topics() Topics {
	if _, ok := c.args["topics"]; !ok {
		return nil
	}
	live := make(map[string]ident.TopicID)
	for _, s := range c.list("topics") {
		name, id := topicID(s)
		live[name] = id
	}
	return func(topic string) (ident.TopicID, bool) { id, ok := live[topic]; return id, ok }
}

func (c command) group() string { return c.arg("group", "g") }

func (c command) run() bool {
	r := c.r
	switch c.name {
	case "config":
		r.cfg.InitialRebalanceDelay = c.span("delay", "0s")
		r.cfg.OffsetsRetention = c.span("retention", r.cfg.OffsetsRetention.String())
		r.cfg.MaxSize = c.number("max", r.cfg.MaxSize)
		r.cfg.OffsetMetadataMax = c.number("metadata", r.cfg.OffsetMetadataMax)
		r.shard.cfg = r.cfg
	case "hold":
		r.auto = false
	case "written":
		r.written(nil)
	case "settle": // from here on writes are durable at once
		r.auto = true
		for len(r.writes) > 0 {
			r.written(nil)
		}
	case "refused":
		r.written(errRefused)
	case "pass":
		r.pass(c.span("t", "0s"))
	case "restart":
		r.restart()
	case "shorten":
		r.shorten()
		for _, rec := range r.log {
			r.say("log " + showRecord(rec))
		}
	case "waiting":
		for w := range r.next + 1 {
			if what, ok := r.waiting[w]; ok {
				r.say(what)
			}
		}
	case "stop":
		r.take(r.shard.Stop(errRefused))
	case "join":
		r.take(r.shard.Join(r.now, c.join()))
		r.pass(0)
	case "sync":
		q := SyncRequest{Group: c.group(), MemberID: c.arg("member", ""), InstanceID: c.optional("instance"), Generation: int32(c.number("generation", 1)),
			ProtocolType: c.optional("type"), Protocol: c.optional("protocol"), Assignments: make(map[string][]byte)}
		for _, a := range c.list("assign") {
			member, parts, _ := strings.Cut(a, ":")
			q.Assignments[member] = []byte(parts)
		}
		q.Waiter = r.ask("sync " + q.MemberID)
		r.take(r.shard.Sync(r.now, q))
	case "heartbeat":
		r.say(code(r.shard.Heartbeat(r.now, HeartbeatRequest{Group: c.group(), MemberID: c.arg("member", ""), InstanceID: c.optional("instance"), Generation: int32(c.number("generation", 1))})))
	case "leave":
		q := LeaveRequest{Group: c.group(), Waiter: r.ask("leave")}
		for _, m := range c.list("members") {
			q.Members = append(q.Members, LeaveMember{MemberID: m})
		}
		for _, i := range c.list("instances") {
			member, instance, _ := strings.Cut(i, "@")
			q.Members = append(q.Members, LeaveMember{MemberID: member, InstanceID: &instance})
		}
		r.take(r.shard.Leave(r.now, q))
	default:
		return c.runOffsets()
	}
	return true
}

func (c command) join() JoinRequest {
	q := JoinRequest{
		Group: c.group(), MemberID: c.arg("member", ""), FreshID: c.arg("fresh", "id"), InstanceID: c.optional("instance"),
		ClientID: c.arg("client", "c"), ClientHost: "/127.0.0.1", SessionTimeout: c.span("session", "10s"),
		RebalanceTimeout: c.span("rebalance", "60s"), ProtocolType: c.arg("type", "consumer"),
		RequireKnownMember: c.flag("v4"), CanSkipAssignment: c.flag("v9"),
	}
	for _, p := range strings.Split(c.arg("protocols", "range:t"), ",") {
		if name, topics, _ := strings.Cut(p, ":"); name != "" {
			q.Protocols = append(q.Protocols, Protocol{Name: name, Metadata: subscribe(strings.Split(topics, "+")...)})
		}
	}
	if raw := c.optional("raw"); raw != nil {
		q.Protocols[0].Metadata = []byte(*raw)
	}
	who := q.MemberID
	if who == "" {
		who = "(" + q.ClientID + ")"
	}
	q.Waiter = c.r.ask("join " + who)
	return q
}

func (c command) runOffsets() bool {
	r := c.r
	switch c.name {
	case "commit":
		q := CommitRequest{Group: c.group(), MemberID: c.arg("member", ""), InstanceID: c.optional("instance"), Generation: int32(c.number("generation", -1)),
			Retention: c.span("retention", "-1s"), KnowsNoGroup: c.flag("v9")}
		metadata := c.arg("metadata", "")
		for _, p := range c.list("offsets") {
			name, at, _ := strings.Cut(p, ":")
			partition, id := c.partition(name)
			at, epoch, _ := strings.Cut(at, "e")
			n, _ := strconv.Atoi(at)
			e := -1
			if epoch != "" {
				e, _ = strconv.Atoi(epoch)
			}
			q.Partitions = append(q.Partitions, CommitPartition{Topic: partition.Topic, TopicID: id, Partition: partition.Partition, Offset: ident.Offset(n), LeaderEpoch: ident.Epoch(e), Metadata: metadata})
		}
		q.Waiter = r.ask("commit")
		r.take(r.shard.Commit(r.now, q))
	case "fetch":
		topics, all := c.topics(), c.list("offsets")
		group := c.group()
		found := r.shard.FetchAll(group, topics)
		if all != nil {
			var names []PartitionName
			for _, s := range all {
				p, _ := c.partition(s)
				names = append(names, p)
			}
			found = r.shard.Fetch(group, names, topics)
		}
		for _, f := range found {
			r.say(fmt.Sprintf("%s-%d = %d epoch=%d metadata=%q", f.Topic, f.Partition, f.Offset, f.LeaderEpoch, f.Metadata))
		}
	case "delete-offsets":
		q := DeleteOffsetsRequest{Group: c.group(), Waiter: r.ask("delete-offsets")}
		for _, s := range c.list("offsets") {
			p, _ := c.partition(s)
			q.Partitions = append(q.Partitions, p)
		}
		r.take(r.shard.DeleteOffsets(r.now, q))
	case "delete":
		r.take(r.shard.Delete(r.now, DeleteRequest{Group: c.group(), Waiter: r.ask("delete")}))
	case "expire":
		r.take(r.shard.Expire(r.now, c.topics()))
	case "describe":
		d := r.shard.Describe(c.group())
		r.say(fmt.Sprintf("%s %s type=%q protocol=%q", code(d.Err), d.State, d.ProtocolType, d.Protocol))
		for _, m := range d.Members {
			r.say(fmt.Sprintf("member %s instance=%q client=%s host=%s %q → %q", m.MemberID, orEmpty(m.InstanceID), m.ClientID, m.ClientHost, topicsIn(m.Metadata), m.Assignment))
		}
	case "list":
		for _, l := range r.shard.List() {
			r.say(fmt.Sprintf("%s %s type=%q", l.Group, l.State, l.ProtocolType))
		}
	default:
		return false
	}
	return true
}
