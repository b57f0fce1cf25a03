package broker

import "github.com/sluicemq/sluice/protocol"

// connectionBytes is the most that a connection takes beside the budgets: its goroutine and
// buffers, a frame of frameFreeBytes, what such a frame decodes to without a budget, and a small
// answer.
const connectionBytes = 16*kib + frameFreeBytes + decodedFreeBytes + replyFrameFreeBytes

// MemoryBytes is the most memory that a broker of this configuration takes: the sum of its budgets
// and of its connections (docs/operations.md, "Memory").
func (c Config) MemoryBytes() int64 {
	c = c.withDefaults()
	requests := c.MemoryBytesMax + rebuiltBytesMax + producedDecodedBytesMax + 2*(framesBytesMax+decodedBytesMax) + protocol.DecompressingBytesMax
	return requests + c.FetchMemoryBytesMax + repliesBytesMax + c.Groups.MemoryBytes() + int64(c.ConnectionsMax)*connectionBytes
}
