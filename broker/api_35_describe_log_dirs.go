// DescribeLogDirs, versions 1 to 5: 2 is flexible, 3 has a top-level error, 4 the size of the disk,
// 5 whether new partitions are kept off a dir (never).
//
// There is one log dir, the data directory. The size of a partition is that of its batches from log
// start to end, wherever they are: in the write-ahead log, or in the bucket.

package broker

import (
	"context"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// logDirsErrorVersion is the first version with a top-level error. Before it, a caller that may not
// see the dirs gets an empty list.
const logDirsErrorVersion = 3

func (b *Broker) describeLogDirs(_ context.Context, c *call, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	if !c.allowed("") {
		if c.version >= logDirsErrorVersion {
			resp.ErrorCode = int16(codeOf(errUnauthorizedCluster))
		}
		return resp
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = b.cfg.LogDir
	if b.diskSpace != nil {
		var err error
		if dir.TotalBytes, dir.UsableBytes, err = b.diskSpace(); err != nil {
			b.logger.Warn("size of the disk is not known", "err", err)
			dir.TotalBytes, dir.UsableBytes = -1, -1
		}
	}
	for _, t := range b.describedLogs(req) {
		if len(t.Partitions) > 0 {
			dir.Topics = append(dir.Topics, t)
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	return resp
}

// describedLogs lists those of the requested partitions that this broker has. A null list asks for
// all.
func (b *Broker) describedLogs(req *kmsg.DescribeLogDirsRequest) (out []kmsg.DescribeLogDirsResponseDirTopic) {
	if req.Topics == nil {
		for _, t := range b.topics.AllTopics() {
			all := make([]int32, len(t.Partitions))
			for i := range all {
				all[i] = int32(i)
			}
			out = append(out, b.describeLogs(t, all))
		}
		return out
	}
	for i := range req.Topics {
		rt := &req.Topics[i]
		if t, ok := b.topics.TopicByName(rt.Topic); ok {
			out = append(out, b.describeLogs(t, rt.Partitions))
		}
	}
	return out
}

func (b *Broker) describeLogs(t *catalog.Topic, partitions []int32) kmsg.DescribeLogDirsResponseDirTopic {
	out := kmsg.NewDescribeLogDirsResponseDirTopic()
	out.Topic = t.Name
	seen := make([]bool, len(t.Partitions))
	for _, i := range partitions {
		if !hasPartition(t, i) || seen[i] {
			continue
		}
		seen[i] = true
		size, err := b.log.LogBytes(ident.TopicPartition{Topic: t.ID, Index: i})
		if err != nil {
			continue // another broker leads it, or it was deleted meanwhile
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size = i, size
		out.Partitions = append(out.Partitions, p)
	}
	return out
}
