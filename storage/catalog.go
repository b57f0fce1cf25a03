package storage

import (
	"context"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// Catalog is what storage needs of the metadata quorum. Values are copies. A method that changes
// something returns when the change is committed and applied here, or returns
// catalog.ErrUnavailable when its outcome is unknown. Repeating the call is safe.
type Catalog interface {
	ClusterID() string
	// Local says what this broker's disk must hold: the incarnation registered last (0 if none),
	// whether it was opened, and its sealed tails, oldest first.
	Local() (current ident.Incarnation, opened bool, tails []catalog.Tail)
	// Register seals previous at end and gives a new incarnation (E21).
	Register(ctx context.Context, previous ident.Incarnation, end ident.Position) (catalog.Registration, error)
	// OpenIncarnation allows placing and committing under it (E27).
	OpenIncarnation(ctx context.Context, inc ident.Incarnation) error
	// RetireTail forgets a sealed tail that is no longer needed.
	RetireTail(ctx context.Context, inc, tail ident.Incarnation) error

	Topics() []*catalog.Topic
	Topic(id ident.TopicID) (*catalog.Topic, bool)
	Head(tp ident.TopicPartition) (catalog.Head, bool)
	// Barrier returns when everything committed before the call is applied here (E16).
	Barrier(ctx context.Context) error

	// ReserveObjects prepares count object ids that expire if no commit makes them live (E7).
	ReserveObjects(ctx context.Context, inc ident.Incarnation, count int) (first ident.ObjectID, err error)
	// LastCommit returns the number of an incarnation's last commit, 0 if there was none.
	LastCommit(inc ident.Incarnation) uint64
	Commit(ctx context.Context, c catalog.Commit) (catalog.CommitResult, error)
	SwapManifest(ctx context.Context, s catalog.ManifestSwap) error
	ReleaseRanges(ctx context.Context, r catalog.RangeRelease) error
	// AdvanceLogStart never moves the log start back. Engine.LogStartMoved is called before it
	// returns.
	AdvanceLogStart(ctx context.Context, inc ident.Incarnation, tp ident.TopicPartition, start ident.Offset) error
}
