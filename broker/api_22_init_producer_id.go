// InitProducerId, versions 0 to 5: 2 is flexible, 3 names an id to renew (for transactions only).
//
// A producer without a transactional id always gets a new id with epoch 0.
//
// Different from Apache Kafka, for now: a transactional id is refused with
// TRANSACTIONAL_ID_AUTHORIZATION_FAILED.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) initProducerID(ctx context.Context, c *call, req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	id, err := b.newProducerID(ctx, c, req)
	resp.ErrorCode = int16(producerIDCode(err))
	if err == nil {
		resp.ProducerID, resp.ProducerEpoch = id, 0
	}
	return resp
}

func (b *Broker) newProducerID(ctx context.Context, c *call, req *kmsg.InitProducerIDRequest) (int64, error) {
	switch {
	case req.TransactionalID != nil && *req.TransactionalID == "":
		return 0, fmt.Errorf("%w: empty transactional id", errInvalidRequest)
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		return 0, fmt.Errorf("%w: a producer id and its epoch come together", errInvalidRequest)
	case req.TransactionalID != nil:
		return 0, errUnauthorizedTxn
	case !c.allowed(""):
		return 0, errUnauthorizedCluster
	}
	id, err := b.topics.AllocateProducerID(ctx)
	if err != nil {
		b.logger.Warn("no producer id allocated", "err", err)
	}
	return int64(id), err
}
