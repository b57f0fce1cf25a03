package protocol

import "encoding/binary"

// The first versions of fields that were added to the Fetch response.
const (
	fetchLogStartVersion = 5
	fetchSessionVersion  = 7 // top-level error and session id
	fetchReplicaVersion  = 11
	fetchFlexVersion     = 12 // also has the tagged current_leader
	fetchIDVersion       = 13 // topic ids instead of names
	fetchNodesVersion    = 16
)

// FetchedPartition is one partition of a Fetch response.
type FetchedPartition struct {
	Index         int32
	Code          Code
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	// For read_committed: the (empty) list of aborted transactions is sent instead of null.
	Committed bool
	Leader    NewLeader
	Batches   [][]byte
	Bytes     int // of all batches
}

// FetchResponse builds a Fetch response, versions 4 to 18, around record bytes that it does not
// copy; kmsg would copy them all. Call Topic, its Partitions and EndTopic for each topic, then
// Buffers once.
//
// Header bytes go into one arena. A list of cuts says where batches come between them.
type FetchResponse struct {
	version int16
	arena   []byte
	cuts    []cut
	records int
}

// cut says that batches follow the first at bytes of the arena.
type cut struct {
	at      int
	batches [][]byte
}

// NewFetchResponse begins a response. The length of its frame is left open.
func NewFetchResponse(version int16, correlationID int32, code Code, topicCount int) *FetchResponse {
	r := &FetchResponse{version: version, arena: make([]byte, FrameLengthBytes, 64+96*topicCount)}
	r.arena = AppendResponseHeader(r.arena, fetchKey, version, correlationID)
	r.arena = append32(r.arena, 0) // throttle_time_ms
	if version >= fetchSessionVersion {
		r.arena = append16(r.arena, int16(code))
		r.arena = append32(r.arena, 0) // session_id: no session is ever kept
	}
	r.arena = appendCount(r.arena, r.flexible(), topicCount)
	return r
}

func (r *FetchResponse) flexible() bool { return r.version >= fetchFlexVersion }

// Topic begins a topic: name until version 12, id from version 13.
func (r *FetchResponse) Topic(name string, id [16]byte, partitionCount int) {
	if r.version >= fetchIDVersion {
		r.arena = append(r.arena, id[:]...)
	} else {
		r.arena = appendString(r.arena, r.flexible(), name)
	}
	r.arena = appendCount(r.arena, r.flexible(), partitionCount)
}

// Partition adds a partition of the current topic.
func (r *FetchResponse) Partition(p *FetchedPartition) {
	flexible := r.flexible()
	b := append32(r.arena, p.Index)
	b = append16(b, int16(p.Code))
	b = append64(b, p.HighWatermark)
	b = append64(b, p.LastStable)
	if r.version >= fetchLogStartVersion {
		b = append64(b, p.LogStart)
	}
	switch {
	case p.Committed: // aborted_transactions
		b = appendCount(b, flexible, 0)
	case flexible:
		b = append(b, 0)
	default:
		b = append32(b, -1)
	}
	if r.version >= fetchReplicaVersion {
		b = append32(b, -1) // preferred_read_replica
	}
	r.arena = appendCount(b, flexible, p.Bytes) // empty, never null
	if p.Bytes > 0 {
		r.cuts = append(r.cuts, cut{at: len(r.arena), batches: p.Batches})
		r.records += p.Bytes
	}
	if !flexible {
		return
	}
	if p.Leader.Broker >= 0 {
		r.arena = appendNewLeader(append(r.arena, 1), 1, p.Leader)
	} else {
		r.arena = append(r.arena, 0)
	}
}

// EndTopic ends the current topic.
func (r *FetchResponse) EndTopic() {
	if r.flexible() {
		r.arena = append(r.arena, 0) // its tagged fields
	}
}

// Buffers ends the response. It returns the frame as slices of the arena and of the batches, for
// one writev, and the frame's length.
func (r *FetchResponse) Buffers(nodes []Node) (buffers [][]byte, bytes int) {
	switch {
	case r.version >= fetchNodesVersion:
		r.arena = appendNodes(r.arena, nodes)
	case r.flexible():
		r.arena = append(r.arena, 0)
	}
	bytes = len(r.arena) + r.records
	binary.BigEndian.PutUint32(r.arena, uint32(bytes-FrameLengthBytes))
	count := 1
	for _, c := range r.cuts {
		count += 1 + len(c.batches)
	}
	buffers = make([][]byte, 0, count)
	from := 0
	for _, c := range r.cuts {
		buffers = append(buffers, r.arena[from:c.at])
		buffers = append(buffers, c.batches...)
		from = c.at
	}
	return append(buffers, r.arena[from:]), bytes
}
