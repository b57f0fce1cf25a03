package beside

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func metadata(edit func(*kmsg.MetadataResponse)) *kmsg.MetadataResponse {
	r := kmsg.NewPtrMetadataResponse()
	r.SetVersion(12)
	r.ClusterID = kmsg.StringPtr("abc")
	r.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "127.0.0.1", Port: 9092}}
	r.Topics = []kmsg.MetadataResponseTopic{
		{Topic: kmsg.StringPtr("a"), TopicID: [16]byte{1}, Partitions: []kmsg.MetadataResponseTopicPartition{{Replicas: []int32{1}}, {Partition: 1}}},
		{Topic: kmsg.StringPtr("b"), TopicID: [16]byte{2}, Partitions: []kmsg.MetadataResponseTopicPartition{}},
	}
	edit(r)
	return r
}

// TestDiff: two brokers whose answers differ only in ids, ports and the order of a hash table do
// not differ. Anything else shows.
func TestDiff(t *testing.T) {
	here := Side{Addr: "127.0.0.1:9092", Topics: map[[16]byte]string{{1}: "a", {2}: "b"}}
	kafka := Side{Addr: "127.0.0.1:9093", Topics: map[[16]byte]string{{3}: "a", {4}: "b"}}
	for name, c := range map[string]struct {
		edit func(*kmsg.MetadataResponse)
		want string
	}{
		"nothing":        {func(*kmsg.MetadataResponse) {}, ""},
		"the order":      {func(r *kmsg.MetadataResponse) { slices.Reverse(r.Topics) }, ""},
		"cluster":        {func(r *kmsg.MetadataResponse) { r.ClusterID = kmsg.StringPtr("xyz") }, ""},
		"no cluster":     {func(r *kmsg.MetadataResponse) { r.ClusterID = nil }, "ClusterID: here given, Kafka null"},
		"another port":   {func(r *kmsg.MetadataResponse) { r.Brokers[0].Port = 1 }, "Brokers[1].Port: here its port, Kafka 1"},
		"another id":     {func(r *kmsg.MetadataResponse) { r.Topics[0].TopicID = [16]byte{4} }, "Topics[a].TopicID: here id of a, Kafka id of b"},
		"a code":         {func(r *kmsg.MetadataResponse) { r.Topics[1].ErrorCode = 3 }, "Topics[b].ErrorCode: here 0, Kafka 3"},
		"null for empty": {func(r *kmsg.MetadataResponse) { r.Topics[1].Partitions = nil }, "Topics[b].Partitions: here [], Kafka null"},
		"one missing":    {func(r *kmsg.MetadataResponse) { r.Topics = r.Topics[:1] }, "Topics[b]: here present, Kafka absent"},
		"a list":         {func(r *kmsg.MetadataResponse) { r.Topics[0].Partitions[0].Replicas = []int32{2} }, "Topics[a].Partitions[0].Replicas: here [1], Kafka [2]"},
		"partitions' order": {func(r *kmsg.MetadataResponse) { slices.Reverse(r.Topics[0].Partitions) },
			"Topics[a].Partitions.order: here [0][1], Kafka [1][0]"},
	} {
		t.Run(name, func(t *testing.T) {
			there := metadata(func(r *kmsg.MetadataResponse) {
				r.Brokers[0].Port, r.Topics[0].TopicID, r.Topics[1].TopicID = 9093, [16]byte{3}, [16]byte{4}
				c.edit(r)
			})
			var got []string
			for _, d := range Diff(here.Tree(metadata(func(*kmsg.MetadataResponse) {})), kafka.Tree(there)) {
				got = append(got, d.String())
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("differs in %q, want %q", got, c.want)
			}
		})
	}
}

// TestTimes: two recent times are the same, and an old one is compared as it is.
func TestTimes(t *testing.T) {
	tree := func(at int64) *Node {
		r := kmsg.NewPtrProduceResponse()
		r.Topics = []kmsg.ProduceResponseTopic{{Topic: "a", Partitions: []kmsg.ProduceResponseTopicPartition{{LogAppendTime: at}}}}
		return new(Side).Tree(r)
	}
	now := time.Now().UnixMilli()
	if d := Diff(tree(now), tree(now-5000)); len(d) != 0 {
		t.Errorf("two recent times differ: %v", d)
	}
	if d := Diff(tree(now), tree(-1)); len(d) != 1 || d[0].Kafka != "-1" {
		t.Errorf("now and -1: %v", d)
	}
}

const page = `
Prose, and a table that is none of ours:

| batch | here |
|---|---|
| x | y |

| id | API | versions | when | field | here | Kafka | why |
|---|---|---|---|---|---|---|---|
| A | Produce | 3–4 | bad; worse | ` + "`Topics[].ErrorCode, Topics[].BaseOffset`" + ` | 1 | 2 | because |
| B | Fetch | 7 | * | ` + "`SessionID`" + ` | * | * | because |
`

func exchange(api string, version int16, step string, d ...Difference) Exchange {
	return Exchange{API: api, Version: version, Step: step, Differences: d}
}

// TestList: a row explains its own difference and what follows from it, and nothing else. A row
// that no exchange showed is reported.
func TestList(t *testing.T) {
	code, offset := Difference{"Topics[a].ErrorCode", "1", "2"}, Difference{"Topics[a].BaseOffset", "-1", "7"}
	for name, c := range map[string]struct {
		e    Exchange
		want int
	}{
		"the row's":          {exchange("Produce", 3, "bad", code, offset), 0},
		"another API":        {exchange("Fetch", 3, "bad", code), 1},
		"another version":    {exchange("Produce", 5, "bad", code), 1},
		"another step":       {exchange("Produce", 3, "good", code), 1},
		"another value":      {exchange("Produce", 3, "bad", Difference{"Topics[a].ErrorCode", "1", "3"}), 1},
		"another field":      {exchange("Produce", 3, "bad", code, Difference{"ErrorCode", "1", "2"}), 1},
		"the follower alone": {exchange("Produce", 3, "bad", offset), 1},
		"any":                {exchange("Fetch", 7, "whatever", Difference{"SessionID", "0", "9"}), 0},
	} {
		list, err := Parse(page)
		if err != nil || len(list) != 2 {
			t.Fatalf("%d rows, %v", len(list), err)
		}
		if got := list.Unexplained(c.e); len(got) != c.want {
			t.Errorf("%s: %v stay, want %d", name, got, c.want)
		}
	}

	list, _ := Parse(page) // as above
	list.Unexplained(exchange("Produce", 3, "bad", code))
	idle := strings.Join(list.Idle(), "\n")
	for _, want := range []string{`A: nothing differs so when "worse"`, "A: nothing differs so at version 4", "A: Topics[].BaseOffset does not", `B: nothing differs so when "*"`, "at version 7"} {
		if !strings.Contains(idle, want) {
			t.Errorf("not told as idle: %s; told:\n%s", want, idle)
		}
	}
	list.Unexplained(exchange("Produce", 4, "worse", code, offset))
	list.Unexplained(exchange("Fetch", 7, "x", Difference{"SessionID", "0", "9"}))
	if idle := list.Idle(); len(idle) != 0 {
		t.Errorf("all was seen, told as idle: %v", idle)
	}
}

func TestParseErrors(t *testing.T) {
	head := "| id | API | versions | when | field | here | Kafka | why |\n|---|---|---|---|---|---|---|---|\n"
	for row, want := range map[string]string{
		"| A | Produce | 3 | x | y | 1 | 2 |":                                              "7 cells",
		"| A | Produce | 3 | x | y | 1 | 2 | |":                                            `"why" is empty`,
		"| A | Produce | 3-4 | x | y | 1 | 2 | z |":                                        "versions",
		"| A | Produce | 4–3 | x | y | 1 | 2 | z |":                                        "versions",
		"| A | Produce | 3 | x | y | 1 | 2 | z |\n| A | Produce | 3 | x | y | 1 | 2 | z |": "used twice",
	} {
		if _, err := Parse(head + row + "\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", row, err, want)
		}
	}
}
