package pstate

import (
	"slices"

	"github.com/sluicemq/sluice/ident"
)

// EpochStart says that the first record of a leader epoch has offset Start, or would have it if the
// epoch is without records. In a history epochs rise, and starts do not fall.
type EpochStart struct {
	Epoch ident.Epoch
	Start ident.Offset
}

// EndOffsetFor answers OffsetForLeaderEpoch (KIP-320) as Kafka does. It returns the largest epoch
// at or below the requested one, and where that epoch ends: at the start of the next epoch, or at
// logEnd for the newest. An epoch older than the history ends where the history begins. If the
// epoch is newer than all others, or nothing is known, the answer is NoEpoch and -1.
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

// TrimEpochs leaves out epochs that lie below the log start. The epoch that holds logStart stays
// and begins there. TrimEpochs returns a new slice.
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
