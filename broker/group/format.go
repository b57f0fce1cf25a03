package group

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/ident"
)

// Records of __consumer_offsets are Apache Kafka's, big-endian; a string is 2
// bytes of length (-1: null) and its bytes, "bytes" has 4 bytes of length. A
// key begins with its version, which also tells the kind:
//
//	key 0, 1  offset of a partition:  version int16, group string, topic string, partition int32
//	key 2     a group's metadata:     version int16, group string
//	others    kinds of newer group types; not ours
//
// Value of an offset, as written (version 4; a compact string has a varint of its length plus one):
//
//	 0  2  version      4
//	 2  8  offset
//	10  4  leader epoch -1: none
//	14  …  metadata     compact string
//	 …  8  commit time  ms since 1970
//	 …  …  tags         tag 0: topic id, 16 bytes; left out when zero
//
// An offset with an expiry of its own is written as version 1, which alone has one:
//
//	 0  2  version      1
//	 2  8  offset
//	10  …  metadata     string
//	 …  8  commit time
//	 …  8  expiry
//
// Value of a group, as written (version 3):
//
//	0  2  version        3
//	2  …  protocol type  string, "" in a simple group
//	…  4  generation
//	…  …  protocol       string or null
//	…  …  leader         string or null
//	…  8  since          when the state was entered, ms since 1970
//	…  4  members, each: member id string, instance id string or null, client
//	      id string, client host string, rebalance timeout int32 ms, session
//	      timeout int32 ms, subscription bytes, assignment bytes
//
// Read are offset values 0 to 4 and group values 0 to 4. These layouts are
// Kafka's and on disk. See docs/formats/groups.md.
const (
	offsetKeyVersion    = 1
	groupKeyVersion     = 2
	offsetValueVersion  = 4
	offsetExpiryVersion = 1
	offsetValueVersions = 4         // the highest version that is read
	stringMax           = 1<<15 - 1 // the longest string with 2 bytes of length
	groupValueVersion   = 3
	groupValueVersions  = 4  // the highest version that is read
	recordOverhead      = 24 // about what a record costs in a batch beside key and value
	offsetRecordFixed   = 2 + 2 + 2 + 4 + 2 + 8 + 4 + 2 + 8 + 20
)

// RecordError is a record of __consumer_offsets that this version cannot read.
type RecordError struct {
	Key    []byte
	Reason string
	Err    error // the decoder's error; may be nil
}

func (e *RecordError) Error() string {
	s := fmt.Sprintf("group: record with key %x: %s", e.Key, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *RecordError) Unwrap() error { return e.Err }

func recordBytes(key, value int) int { return recordOverhead + key + value }

func groupKey(id string) []byte {
	k := kmsg.GroupMetadataKey{Version: groupKeyVersion, Group: id}
	return k.AppendTo(nil)
}

// offsetRecord is the record of an offset. If o is nil, it is a tombstone.
func offsetRecord(group string, p PartitionName, o *offset) Record {
	k := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: group, Topic: p.Topic, Partition: p.Partition}
	r := Record{Key: k.AppendTo(nil)}
	if o == nil {
		return r
	}
	v := kmsg.OffsetCommitValue{
		Version: offsetValueVersion, Offset: int64(o.at), LeaderEpoch: int32(o.epoch), Metadata: o.metadata,
		CommitTimestamp: o.commit, ExpireTimestamp: o.expire, TopicID: o.topic,
	}
	if o.expire >= 0 {
		v.Version = offsetExpiryVersion
	}
	r.Value = v.AppendTo(nil)
	return r
}

// offsetBytes estimates the size of the record of an offset.
func offsetBytes(group string, p PartitionName, o *offset) int {
	if o == nil {
		return 0
	}
	return recordOverhead + offsetRecordFixed + len(group) + len(p.Topic) + len(o.metadata)
}

// metadataRecord is the group's record with the given assignments.
func (g *group) metadataRecord(assignments map[string][]byte) Record {
	v := kmsg.GroupMetadataValue{
		Version: groupValueVersion, ProtocolType: g.protocolType, Generation: g.generation,
		Protocol: orNull(g.protocol), Leader: orNull(g.leader), CurrentStateTimestamp: g.since,
	}
	for _, m := range g.members {
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMillis: int32(m.rebalance.Milliseconds()), SessionTimeoutMillis: int32(m.session.Milliseconds()),
			Subscription: m.metadata(g.protocol), Assignment: assignments[m.id],
		})
	}
	return Record{Key: groupKey(g.id), Value: v.AppendTo(nil)}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// version reads the version with which keys and values begin.
func version(b []byte) (int16, bool) {
	if len(b) < 2 {
		return 0, false
	}
	return int16(binary.BigEndian.Uint16(b)), true
}

// parseOffsetValue reads versions 0 to 4.
func parseOffsetValue(key, value []byte) (*offset, error) {
	v, ok := version(value)
	if !ok || v < 0 || v > offsetValueVersions {
		return nil, &RecordError{Key: key, Reason: fmt.Sprintf("an offset of version %d, want 0 to %d", v, offsetValueVersions)}
	}
	value4 := kmsg.OffsetCommitValue{}
	if err := value4.ReadFrom(value); err != nil {
		return nil, &RecordError{Key: key, Reason: "damaged offset", Err: err}
	}
	o := &offset{
		at: ident.Offset(value4.Offset), epoch: ident.NoEpoch, metadata: value4.Metadata,
		commit: value4.CommitTimestamp, expire: -1, topic: value4.TopicID,
	}
	if v >= 3 {
		o.epoch = ident.Epoch(value4.LeaderEpoch)
	}
	if v == offsetExpiryVersion {
		o.expire = value4.ExpireTimestamp
	}
	return o, nil
}

// parseGroupValue reads versions 0 to 4.
func parseGroupValue(key, value []byte) (*kmsg.GroupMetadataValue, error) {
	v, ok := version(value)
	if !ok || v < 0 || v > groupValueVersions {
		return nil, &RecordError{Key: key, Reason: fmt.Sprintf("a group of version %d, want 0 to %d", v, groupValueVersions)}
	}
	g := &kmsg.GroupMetadataValue{}
	if err := g.ReadFrom(value); err != nil {
		return nil, &RecordError{Key: key, Reason: "damaged group", Err: err}
	}
	if v < 2 {
		g.CurrentStateTimestamp = -1
	}
	for i := range g.Members {
		if m := &g.Members[i]; v < 1 || m.RebalanceTimeoutMillis < 0 {
			m.RebalanceTimeoutMillis = m.SessionTimeoutMillis
		}
	}
	return g, nil
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }
