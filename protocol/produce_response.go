package protocol

// The first versions of fields that were added to the Produce response.
const (
	produceLogStartVersion = 5
	produceErrorsVersion   = 8  // record errors, error message (KIP-467)
	produceFlexVersion     = 9  // also has tagged fields
	produceLeaderVersion   = 10 // current_leader, node_endpoints (KIP-951)
	produceIDVersion       = 13 // topic ids instead of names
)

// ProducedTopic is one topic of a Produce response.
type ProducedTopic struct {
	Name       string   // until version 12
	ID         [16]byte // from version 13
	Partitions []ProducedPartition
}

// ProducedPartition is the outcome of one batch.
type ProducedPartition struct {
	Index      int32
	Code       Code
	BaseOffset int64 // -1 on failure
	AppendTime int64 // the time of LogAppendTime topics, otherwise -1
	LogStart   int64 // -1 if not known
	Message    string
	Leader     NewLeader // with CodeNotLeaderOrFollower only, otherwise {-1, -1}
}

// AppendProduceResponse appends the body of a Produce response, versions 3 to 13. throttleMs is how
// long the producer should send nothing. It is written by hand because kmsg compares each
// partition's tagged struct by reflection.
func AppendProduceResponse(dst []byte, version int16, topics []ProducedTopic, throttleMs int32, nodes []Node) []byte {
	flexible := version >= produceFlexVersion
	dst = appendCount(dst, flexible, len(topics))
	for i := range topics {
		t := &topics[i]
		if version >= produceIDVersion {
			dst = append(dst, t.ID[:]...)
		} else {
			dst = appendString(dst, flexible, t.Name)
		}
		dst = appendCount(dst, flexible, len(t.Partitions))
		for j := range t.Partitions {
			dst = appendProduced(dst, version, &t.Partitions[j])
		}
		if flexible {
			dst = append(dst, 0)
		}
	}
	dst = append32(dst, throttleMs)
	switch {
	case version >= produceLeaderVersion:
		dst = appendNodes(dst, nodes)
	case flexible:
		dst = append(dst, 0)
	}
	return dst
}

func appendProduced(dst []byte, version int16, p *ProducedPartition) []byte {
	flexible := version >= produceFlexVersion
	dst = append32(dst, p.Index)
	dst = append16(dst, int16(p.Code))
	dst = append64(dst, p.BaseOffset)
	dst = append64(dst, p.AppendTime)
	if version >= produceLogStartVersion {
		dst = append64(dst, p.LogStart)
	}
	if version >= produceErrorsVersion {
		dst = appendCount(dst, flexible, 0) // record_errors
		if p.Message == "" {
			dst = appendNullableString(dst, flexible, nil)
		} else {
			dst = appendString(dst, flexible, p.Message)
		}
	}
	if !flexible {
		return dst
	}
	if version >= produceLeaderVersion && p.Leader.Broker >= 0 {
		return appendNewLeader(append(dst, 1), 0, p.Leader)
	}
	return append(dst, 0)
}
