// Package ident holds the identities that every layer uses: who owns bytes (TopicID,
// TopicPartition, Incarnation, ObjectID, ProducerID) and where they are (Offset, Position, Epoch).
// Each has its own type, so that one cannot be passed for another. It imports nothing of ours and
// does no I/O.
package ident

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Offset is Kafka's: the number of a record in its partition. Ranges of
// offsets are half-open, [start, end).
type Offset int64

// Epoch is a partition's leader epoch. It starts at 0 and goes up by one with each new leadership
// (`sluice restore` raises it by 10,000: E22). NoEpoch is Kafka's "unknown".
type Epoch int32

// NoEpoch is Kafka's "unknown".
const NoEpoch Epoch = -1

// Position is a byte position in the stream of one WAL incarnation.
type Position int64

// Incarnation is one life of one broker's WAL. The metadata quorum issues incarnations and never
// reuses one. The generation is in the top 16 bits. 0 is "none".
type Incarnation uint64

// String returns the 16 hex digits that also name the WAL's folder.
func (i Incarnation) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// ObjectID names one object in the bucket. The metadata quorum issues ids in blocks and never
// reuses one. The generation is in the top 16 bits. 0 is "none".
type ObjectID uint64

func (o ObjectID) String() string { return fmt.Sprintf("%016x", uint64(o)) }

// Generation counts the restores of a cluster (E22). It is the top 16 bits of object ids and
// incarnations, and bits 40 to 55 of producer ids.
type Generation uint16

// generationShift is where the generation starts in ObjectID and Incarnation.
const generationShift = 48

// FirstObject returns the lowest object id of a generation. Issued ids count up from the next one.
func (g Generation) FirstObject() ObjectID { return ObjectID(uint64(g) << generationShift) }

// FirstIncarnation returns the lowest incarnation of a generation. Issued ones count up from the
// next one.
func (g Generation) FirstIncarnation() Incarnation { return Incarnation(uint64(g) << generationShift) }

// FirstProducer returns the lowest producer id of a generation.
func (g Generation) FirstProducer() ProducerID { return ProducerID(int64(g) << 40) }

// Generation returns the generation in which the id was issued.
func (o ObjectID) Generation() Generation { return Generation(o >> generationShift) }

// Generation returns the generation in which the incarnation was issued.
func (i Incarnation) Generation() Generation { return Generation(i >> generationShift) }

// ProducerID is Kafka's producer id; -1 is "none".
type ProducerID int64

// NoProducer marks a batch of a producer without idempotence.
const NoProducer ProducerID = -1

// TopicID is Kafka's topic id, a version 4 UUID that is never reused.
type TopicID [16]byte

// String returns Kafka's form of a UUID: 22 characters of unpadded URL-safe base64.
func (t TopicID) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// IsZero reports whether the id is the reserved zero UUID, which Kafka reads as "none".
func (t TopicID) IsZero() bool { return t == TopicID{} }

// ParseTopicID reads the 22-character form, or 32 hex digits with or without dashes.
func ParseTopicID(s string) (TopicID, error) {
	var t TopicID
	if len(s) == 22 {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil && len(b) == len(t) {
			copy(t[:], b)
			return t, nil
		}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(t) {
		return t, fmt.Errorf("topic id %q: want 22 base64 characters or 32 hex digits", s)
	}
	copy(t[:], b)
	return t, nil
}

// TopicPartition names one partition of one life of a topic.
type TopicPartition struct {
	Topic TopicID
	Index int32
}

func (p TopicPartition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// Compare defines the order of partitions in which they are locked (E8).
func (p TopicPartition) Compare(q TopicPartition) int {
	if c := bytes.Compare(p.Topic[:], q.Topic[:]); c != 0 {
		return c
	}
	return int(p.Index) - int(q.Index)
}
