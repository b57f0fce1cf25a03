package limits

import (
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// versions are the versions that are served. Topics are named by name, not by id.
var versions = []struct{ key, least, most, flexible int16 }{
	{produceKey, 3, 12, produceFlexible},
	{fetchKey, 4, 12, 12},
	{2, 1, 7, 6},  // ListOffsets
	{3, 0, 12, 9}, // Metadata
	{apiVersionsKey, 0, apiVersionsMost, 3},
	{19, 2, 6, 5}, // CreateTopics
	{20, 1, 5, 4}, // DeleteTopics
	{22, 0, 4, 2}, // InitProducerId
}

const apiVersionsMost = 4

// cold answers every request that is not about records. tooNew says that the client asked for
// versions with a version of ApiVersions that we do not know.
func (s *server) cold(req kmsg.Request, tooNew bool) kmsg.Response {
	resp := req.ResponseKind()
	switch q := req.(type) {
	case *kmsg.ApiVersionsRequest:
		r := resp.(*kmsg.ApiVersionsResponse)
		if tooNew {
			r.ErrorCode = codeVersions
		}
		for _, v := range versions {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MinVersion, k.MaxVersion = v.key, v.least, v.most
			r.ApiKeys = append(r.ApiKeys, k)
		}
	case *kmsg.MetadataRequest:
		s.metadata(q, resp.(*kmsg.MetadataResponse))
	case *kmsg.InitProducerIDRequest:
		resp.(*kmsg.InitProducerIDResponse).ProducerID = s.producers.Add(1)
	case *kmsg.ListOffsetsRequest:
		s.listOffsets(q, resp.(*kmsg.ListOffsetsResponse))
	case *kmsg.CreateTopicsRequest:
		s.createTopics(q, resp.(*kmsg.CreateTopicsResponse))
	case *kmsg.DeleteTopicsRequest:
		s.deleteTopics(q, resp.(*kmsg.DeleteTopicsResponse))
	}
	return resp
}

func (s *server) metadata(q *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	addr := s.listen.Addr().(*net.TCPAddr)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = 1, addr.IP.String(), int32(addr.Port)
	resp.Brokers, resp.ControllerID = append(resp.Brokers, b), 1
	resp.ClusterID = kmsg.StringPtr("limits-" + string(s.kind))
	if q.Topics == nil || q.Version == 0 && len(q.Topics) == 0 {
		for _, t := range s.topics.all() {
			resp.Topics = append(resp.Topics, metadataOf(t))
		}
		return
	}
	for _, asked := range q.Topics {
		if asked.Topic == nil {
			t := kmsg.NewMetadataResponseTopic()
			t.TopicID, t.ErrorCode = asked.TopicID, 100 // UNKNOWN_TOPIC_ID
			resp.Topics = append(resp.Topics, t)
			continue
		}
		t, _ := s.topics.create(*asked.Topic, 0)
		resp.Topics = append(resp.Topics, metadataOf(t))
	}
}

func metadataOf(t *topic) kmsg.MetadataResponseTopic {
	r := kmsg.NewMetadataResponseTopic()
	r.Topic = kmsg.StringPtr(t.name)
	for i := range t.partitions {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR = int32(i), 1, 0, []int32{1}, []int32{1}
		r.Partitions = append(r.Partitions, p)
	}
	return r
}

// listOffsets knows the start (-2). Every other timestamp gives the end.
func (s *server) listOffsets(q *kmsg.ListOffsetsRequest, resp *kmsg.ListOffsetsResponse) {
	for _, t := range q.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		found := s.topics.find([]byte(t.Topic))
		for _, p := range t.Partitions {
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition = p.Partition
			if found == nil || p.Partition < 0 || int(p.Partition) >= len(found.partitions) {
				rp.ErrorCode = codeUnknown
			} else if start, next := found.partitions[p.Partition].ends(); p.Timestamp == -2 {
				rp.Offset, rp.LeaderEpoch = start, 0
			} else {
				rp.Offset, rp.LeaderEpoch = next, 0
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}

func (s *server) createTopics(q *kmsg.CreateTopicsRequest, resp *kmsg.CreateTopicsResponse) {
	for _, t := range q.Topics {
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic = t.Topic
		made, isNew := s.topics.create(t.Topic, int(t.NumPartitions))
		if !isNew {
			rt.ErrorCode = codeExists
		}
		rt.NumPartitions, rt.ReplicationFactor = int32(len(made.partitions)), 1
		resp.Topics = append(resp.Topics, rt)
	}
}

func (s *server) deleteTopics(q *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) {
	for _, name := range q.TopicNames {
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic = kmsg.StringPtr(name)
		if gone := s.topics.remove(name); gone == nil {
			rt.ErrorCode = codeUnknown
		} else {
			for _, p := range gone.partitions {
				s.kept.Add(-p.drop())
			}
		}
		resp.Topics = append(resp.Topics, rt)
	}
}
