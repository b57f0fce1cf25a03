package pstate

import (
	"slices"

	"github.com/sluicemq/sluice/ident"
)

// EpochStart says that a leader epoch's first record has offset Start, or would
// have: an epoch may be without records. A history rises in epochs and does not fall in starts.
type EpochStart struct {
	Epoch ident.Epoch
	Start ident.Offset
}

// EndOffsetFor answers OffsetForLeaderEpoch (KIP-320) as Kafka does: the largest
// epoch at or below the one asked for and where it ends, which is the start of
// the next, or logEnd for the newest. An epoch older than the history ends where
// the history begins. NoEpoch and -1 if the epoch is newer than any, or nothing is known.
func EndOffsetFor(epochs []EpochStart, epoch ident.Epoch, logEnd ident.Offset) (ident.Epoch, ident.Offset) {
	n := len(epochs)
	if n == 0 || epoch < 0 || epoch > epochs[n-1].Epoch {
		return ident.NoEpoch, -1
	}
	if epoch == epochs[n-1].Epoch {
		return epoch, logEnd
	}
	next, _ := slices.BinarySearchFunc(epochs, epoch+1, func(e EpochStart, want ident.Epoch) int { return int(e.Epoch) - int(want) })
	if next == 0 {
		return epoch, epochs[0].Start
	}
	return epochs[next-1].Epoch, epochs[next].Start
}

// TrimEpochs leaves out what log start has passed: the epoch that holds logStart
// stays and then begins there. It returns a new slice.
func TrimEpochs(epochs []EpochStart, logStart ident.Offset) []EpochStart {
	first := 0
	for first+1 < len(epochs) && epochs[first+1].Start <= logStart {
		first++
	}
	kept := slices.Clone(epochs[first:])
	if len(kept) > 0 {
		kept[0].Start = max(kept[0].Start, logStart)
	}
	return kept
}
