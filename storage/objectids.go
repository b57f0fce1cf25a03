package storage

import (
	"context"
	"time"

	"github.com/sluicemq/sluice/ident"
)

const (
	objectBlock = 16 // ids per reservation
	// ObjectExpiry is how long the quorum keeps a prepared object that no commit made live.
	ObjectExpiry = time.Hour
	// objectLease is how long the ids of a block are used. It is well below ObjectExpiry, so that
	// an upload begun in time can commit.
	objectLease = 20 * time.Minute
)

// objectIDs hands out object ids from blocks that the quorum has prepared (E7).
type objectIDs struct {
	*env

	// turn is held across the reservation, so that all callers that need an id wait for the same
	// block. It guards the fields below.
	turn  turn
	first ident.ObjectID
	left  int
	until time.Time
}

// giveUp drops the remaining ids, because one that was handed out turned out not to be prepared any
// more.
func (o *objectIDs) giveUp() {
	if o.turn.take(o.ctx) == nil {
		o.left = 0
		o.turn.give()
	}
}

// next returns an id that no other caller gets.
func (o *objectIDs) next(ctx context.Context) (ident.ObjectID, error) {
	if err := o.turn.take(ctx); err != nil {
		return 0, err
	}
	defer o.turn.give()
	now := o.deps.Now()
	if o.left == 0 || now.After(o.until) {
		first, err := o.deps.Catalog.ReserveObjects(ctx, o.incarnation, objectBlock)
		if err != nil {
			return 0, err
		}
		o.first, o.left, o.until = first, objectBlock, now.Add(objectLease)
	}
	id := o.first
	o.first++
	o.left--
	return id, nil
}
