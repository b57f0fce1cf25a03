package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// otherFrameBytesMax is the size of the largest request of any API but Produce, enough for a
	// Fetch of 200,000 partitions.
	otherFrameBytesMax = 8 * mib
	// framesBytesMax is the size of two budgets: one for the frames of all Fetch requests that are
	// being read, and one for the frames of all requests but Fetch and Produce that are being read
	// or are not answered.
	framesBytesMax = 64 * mib
	// frameFreeBytes is the size up to which a frame of an API other than Produce takes no budget,
	// so that a heartbeat, a commit of some offsets and metadata of some topics always have room.
	// It is part of what a connection costs.
	frameFreeBytes = 4 * kib
	// decodedBytesMax is the size of two budgets for what requests decode to beside their frames:
	// one for all Fetch requests, and one for all requests but Fetch and Produce. So it also bounds
	// a single request. A request that decodes to at most decodedFreeBytes takes no budget.
	decodedBytesMax  = 128 * mib
	decodedFreeBytes = 16 * kib
	// producedDecodedBytesMax bounds what all Produce requests together decode to beside their
	// frames. So it also bounds a single request, to about 500,000 partitions. Produce requests
	// hold this budget for as long as the log takes, so no other requests use it.
	producedDecodedBytesMax = 64 * mib
	// rebuiltBytesMax bounds the batches that were rebuilt in another codec and are not answered
	// yet, or are still with the log.
	rebuiltBytesMax = 128 * mib
)

// requestBudgets are the budgets of one kind of requests. Frames have one and decoded requests
// another, because a request holds its frame's share while it waits for the other.
type requestBudgets struct{ frames, decoded *budget }

func newRequestBudgets() requestBudgets {
	return requestBudgets{frames: newBudget(framesBytesMax), decoded: newBudget(decodedBytesMax)}
}

// versions is a range of an API's versions: those that are served and, if it differs, the lowest
// that is listed.
type versions struct {
	low, high, listed int16
}

func between(low, high int16) versions { return versions{low: low, high: high, listed: low} }

func (v versions) listedFrom(low int16) versions {
	v.listed = low
	return v
}

// handler answers a request in the connection's reader. It returns the frame as buffers, and the
// frame's length. An error closes the connection without an answer.
type handler func(b *Broker, ctx context.Context, c *call) (buffers [][]byte, bytes int, err error)

// api is a row of the dispatch table.
type api struct {
	key      int16
	name     string
	versions versions
	needs    Need
	handle   handler
	place    func(b *Broker, c *call) *produceCall // set for Produce, instead of handle
	early    bool                                  // answered before the log is open
}

// answersEarly makes a row whose API is answered before the log is open.
func (a *api) answersEarly() *api {
	a.early = true
	return a
}

// row makes a row of an API that is answered with a kmsg response. It takes every entry as an
// argument, so that a row without its authorisation does not compile.
func row[Q kmsg.Request](key int16, name string, v versions, needs Need, answer func(*Broker, context.Context, *call, Q) kmsg.Response) *api {
	return &api{key: key, name: name, versions: v, needs: needs,
		handle: func(b *Broker, ctx context.Context, c *call) ([][]byte, int, error) {
			frame := c.encode(answer(b, ctx, c, c.req.(Q)))
			c.answer.shrinkTo(int64(cap(frame)))
			return [][]byte{frame}, len(frame), nil
		}}
}

// largeRow makes a row of an API whose answer may be much larger than its request (replies.go).
func largeRow[Q kmsg.Request](key int16, name string, v versions, needs Need, bytes estimate[Q], answer func(*Broker, context.Context, *call, Q) kmsg.Response) *api {
	a := row(key, name, v, needs, answer)
	build := a.handle
	a.handle = func(b *Broker, ctx context.Context, c *call) ([][]byte, int, error) {
		if err := c.reserveReply(bytes(b, ctx, c.req.(Q))); err != nil {
			return nil, 0, err
		}
		return build(b, ctx, c)
	}
	return a
}

func placeRow(key int16, name string, v versions, needs Need, place func(*Broker, *call) *produceCall) *api {
	return &api{key: key, name: name, versions: v, needs: needs, place: place}
}

func bufferRow(key int16, name string, v versions, needs Need, handle handler) *api {
	return &api{key: key, name: name, versions: v, needs: needs, handle: handle}
}

// apis holds every API that is served, and so every API that ApiVersions lists. The function breaks
// a cycle: ApiVersions is a row and lists the rows.
var apis map[int16]*api

func init() {
	apis = map[int16]*api{}
	for _, a := range []*api{
		placeRow(0, "Produce", between(3, 13).listedFrom(0), topicWrite, (*Broker).produce),
		bufferRow(1, "Fetch", between(4, 18), topicRead, (*Broker).fetch),
		row(2, "ListOffsets", between(1, 11), topicDescribe, (*Broker).listOffsets),
		largeRow(3, "Metadata", between(0, 13), topicDescribe, (*Broker).metadataBytes, (*Broker).metadata).answersEarly(),
		row(8, "OffsetCommit", between(2, 10), groupRead, (*Broker).offsetCommit),
		largeRow(9, "OffsetFetch", between(1, 10), groupDescribe, (*Broker).offsetFetchBytes, (*Broker).offsetFetch),
		row(10, "FindCoordinator", between(0, 6), groupDescribe, (*Broker).findCoordinator),
		row(11, "JoinGroup", between(0, 9), groupRead, (*Broker).joinGroup),
		row(12, "Heartbeat", between(0, 4), groupRead, (*Broker).heartbeat),
		row(13, "LeaveGroup", between(0, 5), groupRead, (*Broker).leaveGroup),
		row(14, "SyncGroup", between(0, 5), groupRead, (*Broker).syncGroup),
		largeRow(15, "DescribeGroups", between(0, 6), groupDescribe, (*Broker).describeGroupsBytes, (*Broker).describeGroups),
		largeRow(16, "ListGroups", between(0, 5), groupDescribe, (*Broker).listGroupsBytes, (*Broker).listGroups),
		row(18, "ApiVersions", between(0, 4), anyone, (*Broker).apiVersions).answersEarly(),
		row(19, "CreateTopics", between(2, 7), topicCreate, (*Broker).createTopics),
		row(20, "DeleteTopics", between(1, 6), topicDelete, (*Broker).deleteTopics),
		row(21, "DeleteRecords", between(0, 2), topicDelete, (*Broker).deleteRecords),
		row(22, "InitProducerId", between(0, 5), clusterIdempotentWrite, (*Broker).initProducerID),
		row(23, "OffsetForLeaderEpoch", between(2, 4), topicDescribe, (*Broker).offsetForLeaderEpoch),
		largeRow(32, "DescribeConfigs", between(1, 4), topicDescribeConfigs, (*Broker).describeConfigsBytes, (*Broker).describeConfigs),
		row(33, "AlterConfigs", between(0, 2), topicAlterConfigs, (*Broker).alterConfigs),
		largeRow(35, "DescribeLogDirs", between(1, 5), clusterDescribe, (*Broker).logDirsBytes, (*Broker).describeLogDirs),
		row(37, "CreatePartitions", between(0, 3), topicAlter, (*Broker).createPartitions),
		row(42, "DeleteGroups", between(0, 2), groupDelete, (*Broker).deleteGroups),
		largeRow(43, "ElectLeaders", between(0, 2), clusterAlter, (*Broker).electLeadersBytes, (*Broker).electLeaders),
		row(44, "IncrementalAlterConfigs", between(0, 1), topicAlterConfigs, (*Broker).incrementalAlterConfigs),
		row(45, "AlterPartitionReassignments", between(0, 1), clusterAlter, (*Broker).alterPartitionReassignments),
		row(46, "ListPartitionReassignments", between(0, 0), clusterDescribe, (*Broker).listPartitionReassignments),
		row(47, "OffsetDelete", between(0, 0), groupDelete, (*Broker).offsetDelete),
		row(55, "DescribeQuorum", between(0, 2), clusterDescribe, (*Broker).describeQuorum),
		row(57, "UpdateFeatures", between(0, 2), clusterAlter, (*Broker).updateFeatures),
		row(60, "DescribeCluster", between(0, 2), anyone, (*Broker).describeCluster).answersEarly(),
		largeRow(61, "DescribeProducers", between(0, 0), topicRead, (*Broker).describeProducersBytes, (*Broker).describeProducers),
		largeRow(75, "DescribeTopicPartitions", between(0, 0), topicDescribe, (*Broker).topicPartitionsBytes, (*Broker).describeTopicPartitions),
	} {
		apis[a.key] = a
	}
}

const (
	fetchKey       = 1
	apiVersionsKey = 18
)

// lookup finds the row that serves a request. It finds ApiVersions at any version, since its answer
// names the versions that are served.
func lookup(key, version int16) (*api, error) {
	a, ok := apis[key]
	if !ok {
		return nil, fmt.Errorf("%w: api key %d", errUnsupported, key)
	}
	if !a.serves(version) && key != apiVersionsKey {
		return nil, fmt.Errorf("%w: %s version %d", errUnsupported, a.name, version)
	}
	return a, nil
}

func (a *api) serves(version int16) bool {
	return a.versions.low <= version && version <= a.versions.high
}

func (b *Broker) frameBytesMax(a *api) int {
	if a.place != nil {
		return b.cfg.FrameBytesMax
	}
	return otherFrameBytesMax
}

// frames returns the budget that a frame's bytes come from, or nil if they need none.
func (b *Broker) frames(a *api, size int) *budget {
	if a.place == nil && size <= frameFreeBytes {
		return nil
	}
	return b.budgets(a).frames
}

func (b *Broker) budgets(a *api) requestBudgets {
	switch {
	case a.place != nil:
		return requestBudgets{frames: b.memory, decoded: b.producedDecoded}
	case a.key == fetchKey:
		return b.fetches
	}
	return b.others
}

// call is one request on its way through a handler.
type call struct {
	b       *Broker
	conn    *conn // nil if a test calls the handler
	row     *api
	header  protocol.RequestHeader
	version int16 // of the answer: 0 for a version of ApiVersions that is not served
	req     kmsg.Request
	began   time.Time // when the frame's last byte was read

	frameBytes int
	held       share // of a budget of frames
	decoded    share // of a budget of what requests decode to
	rebuilt    share // of Broker.rebuilt
	answer     share // of Broker.answers for a Fetch, of Broker.replies otherwise
	behind     share // of Broker.behind, beside answer
}

// decode turns a frame into a call. The call holds the frame's share only if there is no error.
func (b *Broker) decode(f *frame) (*call, error) {
	c := &call{b: b, row: f.row, header: f.header, version: f.header.Version, frameBytes: len(f.bytes), held: f.held, began: f.began}
	// This version of ApiVersions is not served, so its body must not be parsed.
	if !f.row.serves(c.version) {
		c.version, c.req = 0, kmsg.NewPtrApiVersionsRequest()
		return c, nil
	}
	header, body, err := protocol.ParseRequestHeader(f.bytes)
	if err != nil {
		return nil, err
	}
	c.header = header
	cost, err := protocol.RequestCost(header.Key, header.Version, body)
	if err != nil {
		return nil, err
	}
	if f.row.key == fetchKey {
		cost *= fetchCostTimes
	}
	if err := c.reserveDecoded(cost); err != nil {
		return nil, err
	}
	if c.req, err = protocol.DecodeRequest(header.Key, header.Version, body); err != nil {
		c.decoded.release()
		return nil, err
	}
	// A Fetch may wait for minutes, and nothing that was decoded lies in its frame.
	if f.row.key == fetchKey {
		f.bytes = nil
		c.held.release()
	}
	return c, nil
}

func (c *call) reserveDecoded(cost int) (err error) {
	of := c.b.budgets(c.row).decoded
	switch {
	case cost <= decodedFreeBytes:
		return nil
	case int64(cost) > of.bytes:
		return fmt.Errorf("%w: %s would decode to %d bytes", errBadFrame, c.row.name, cost)
	}
	c.decoded, err = of.reserve(c.b.stopping, int64(cost))
	return err
}

// release gives back every share that the call holds. It may be called again.
func (c *call) release() {
	c.held.release()
	c.decoded.release()
	c.rebuilt.release()
	c.releaseAnswer()
}

func (c *call) releaseAnswer() {
	c.answer.release()
	c.behind.release()
}

// encode returns the whole frame of a response.
func (c *call) encode(resp kmsg.Response) []byte {
	resp.SetVersion(c.version)
	out := make([]byte, protocol.FrameLengthBytes, 512)
	out = protocol.AppendResponseHeader(out, c.header.Key, c.version, c.header.CorrelationID)
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-protocol.FrameLengthBytes))
	return out
}

// allowed asks whether the caller may do what the row needs to a topic, a group or the cluster
// ("").
func (c *call) allowed(name string) bool { return c.b.authorize(c.row.needs, name) }
