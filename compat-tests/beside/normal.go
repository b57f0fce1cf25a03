package beside

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The fields that must differ between two brokers, by name, and how they are compared.
var (
	// texts are compared only for being null, empty or some text.
	texts = set("ErrorMessage", "Documentation")
	// given are values that the broker chose. They are compared only for being there (values of
	// zero and below are compared as they are).
	given = set("ClusterID", "ProducerID", "LogDir", "Dir", "TotalBytes", "UsableBytes", "SessionID", "FinalizedFeaturesEpoch")
	// times are compared as "now" if they lie in the last hour.
	times = set("LogAppendTime", "Timestamp", "CommitTimestamp", "FirstTimestamp", "MaxTimestamp", "LastTimestamp", "StartTimestamp",
		"LastFetchTimestamp", "LastCaughtUpTimestamp")
	// uuid is what brokers append to a client's name to make a member id.
	uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// unordered are lists that Apache Kafka returns in the order of a hash table.
	unordered = set(
		"ApiVersionsResponseApiKey", "ApiVersionsResponseSupportedFeature", "ApiVersionsResponseFinalizedFeature",
		"ProduceResponseTopic", "ProduceResponseTopicPartition", "MetadataResponseTopic", "OffsetCommitResponseTopic",
		"OffsetFetchResponseTopic", "OffsetFetchResponseGroupTopic", "JoinGroupResponseMember", "DescribeGroupsResponseGroup",
		"DescribeGroupsResponseGroupMember", "ListGroupsResponseGroup", "DeleteGroupsResponseGroup", "DeleteTopicsResponseTopic",
		"CreateTopicsResponseTopicConfig", "DescribeConfigsResponseResourceConfig",
		"DescribeLogDirsResponseDirTopic", "DescribeLogDirsResponseDirTopicPartition",
	)
	// keys name an element of a list: the first of them that the element has.
	keys = []string{"Topic", "TopicID", "Partition", "Group", "ResourceName", "Name", "Feature", "Key", "ApiKey", "NodeID", "MemberID", "Dir"}
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool)
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Side is what is needed to read the answers of one of the two brokers.
type Side struct {
	Addr   string              // where it listens
	Topics map[[16]byte]string // topic ids
}

// Tree returns an answer without what must differ.
func (s *Side) Tree(resp kmsg.Response) *Node {
	return s.node("", reflect.ValueOf(resp).Elem())
}

func (s *Side) node(name string, v reflect.Value) *Node {
	if n := s.special(name, v); n != nil {
		return n
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return leaf(name, "null")
		}
		return s.node(name, v.Elem())
	case reflect.Struct:
		return s.record(name, v)
	case reflect.Slice:
		return s.list(name, v)
	case reflect.String:
		if strings.HasPrefix(v.String(), os.TempDir()) {
			return leaf(name, "a path")
		}
		text := uuid.ReplaceAllString(v.String(), "UUID")
		if s.Addr != "" {
			text = strings.ReplaceAll(text, s.Addr, "its address")
		}
		return leaf(name, strconv.Quote(text))
	default:
		return leaf(name, fmt.Sprint(v.Interface()))
	}
}

// special returns the nodes of fields that are not compared as they are, or nil for all other
// fields.
func (s *Side) special(name string, v reflect.Value) *Node {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return nil
	case name == "Port" && fmt.Sprint(v.Interface()) == s.port():
		return leaf(name, "its port")
	case v.Type() == reflect.TypeFor[[16]byte]():
		return leaf(name, s.topic(v.Interface().([16]byte)))
	case name == "RecordBatches":
		return batches(name, v.Bytes())
	case texts[name]:
		return maybe(name, "text", v, func(v reflect.Value) bool { return v.String() != "" })
	case given[name]:
		return maybe(name, "given", v, func(v reflect.Value) bool {
			return v.Kind() == reflect.String && v.String() != "" || v.CanInt() && v.Int() > 0
		})
	case times[name]:
		return maybe(name, "now", v, func(v reflect.Value) bool { return isNow(v.Int()) })
	}
	return nil
}

// maybe is a leaf that shows its value, unless hide says that the value is to be hidden.
func maybe(name, instead string, v reflect.Value, hide func(reflect.Value) bool) *Node {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if hide(v) {
		return leaf(name, instead)
	}
	return leaf(name, fmt.Sprintf("%#v", v.Interface()))
}

func isNow(millis int64) bool {
	age := time.Since(time.UnixMilli(millis))
	return -time.Minute < age && age < time.Hour
}

func (s *Side) port() string {
	_, port, _ := net.SplitHostPort(s.Addr) // an address that is listened on
	return port
}

func (s *Side) topic(id [16]byte) string {
	if id == [16]byte{} {
		return "none"
	}
	if name, ok := s.Topics[id]; ok {
		return "id of " + name
	}
	return hex.EncodeToString(id[:])
}

func (s *Side) record(name string, v reflect.Value) *Node {
	n := &Node{Name: name}
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Name == "Version" && name == "":
		case f.Name == "UnknownTags":
			if tags := v.Field(i).Interface().(kmsg.Tags); tags.Len() > 0 {
				n.Children = append(n.Children, leaf(f.Name, fmt.Sprintf("%+v", tags)))
			}
		default:
			n.Children = append(n.Children, s.node(f.Name, v.Field(i)))
		}
	}
	return n
}

func (s *Side) list(name string, v reflect.Value) *Node {
	switch {
	case v.IsNil():
		return leaf(name, "null")
	case v.Len() == 0:
		return leaf(name, "[]")
	case v.Type().Elem().Kind() == reflect.Uint8:
		return leaf(name, hex.EncodeToString(v.Bytes()))
	case v.Type().Elem().Kind() != reflect.Struct:
		return leaf(name, fmt.Sprint(v.Interface()))
	}
	n := &Node{Name: name}
	order := &Node{Name: "order"}
	for i := range v.Len() {
		e := s.node("", v.Index(i))
		e.Name = fmt.Sprintf("[%s]", elementKey(e, i))
		for again := 2; n.child(e.Name) != nil; again++ {
			e.Name = fmt.Sprintf("[%s, %d]", elementKey(e, i), again)
		}
		n.Children = append(n.Children, e)
		order.Value += e.Name
	}
	if unordered[v.Type().Elem().Name()] {
		order.Value = "any"
	}
	n.Children = append(n.Children, order)
	return n
}

func elementKey(e *Node, i int) string {
	for _, k := range keys {
		c := e.child(k)
		// Another key, such as the id, may name the element.
		if c == nil || c.Value == "none" || c.Value == "null" || c.Value == `""` && k == "Topic" {
			continue
		}
		return strings.TrimPrefix(strings.Trim(c.Value, `"`), "id of ")
	}
	return strconv.Itoa(i)
}

// batches is what is compared of record data: every field of every batch, and the bytes of the
// records.
func batches(name string, raw []byte) *Node {
	switch {
	case raw == nil:
		return leaf(name, "null")
	case len(raw) == 0:
		return leaf(name, "[]")
	}
	n := &Node{Name: name}
	for i := 0; len(raw) > 0; i++ {
		size := 12
		if len(raw) >= 61 {
			size += int(int32(binary.BigEndian.Uint32(raw[8:])))
		}
		var b kmsg.RecordBatch
		if size < 61 || size > len(raw) || b.ReadFrom(raw[:size]) != nil {
			n.Children = append(n.Children, leaf("rest", fmt.Sprintf("%d bytes", len(raw))))
			break
		}
		sum := crc32.Checksum(raw[21:size], crc32.MakeTable(crc32.Castagnoli))
		e := (&Side{}).record("", reflect.ValueOf(b))
		e.Name = fmt.Sprintf("[%d]", i)
		e.child("CRC").Value = fmt.Sprintf("right: %t", uint32(b.CRC) == sum)
		n.Children, raw = append(n.Children, e), raw[size:]
	}
	return n
}
