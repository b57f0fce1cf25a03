package catalog

// Reason says why a range was refused, so that storage knows what to do before it plans again.
type Reason uint8

// The reasons. Their numbers are in snapshots and never change.
const (
	NotRefused Reason = iota
	// The bundle's object is not prepared for this writer: take a new id (E7).
	ReasonNotPrepared
	// ReasonFenced: (incarnation, epoch) neither leads the partition nor lies in a tail that the
	// committer holds (E21).
	ReasonFenced
	ReasonBeyondTail // the range reaches above the sealed end of its tail (E21, I6)
	ReasonNotNext    // the range does not start at the committed end (E23, I8)
	ReasonHeadFull   // the head holds RangesPerHeadMax ranges: swap the manifest first (E17)
	ReasonState      // a state pointer names an object that is neither this bundle nor live (E11)
	ReasonMalformed  // offsets, object or partition make no sense
)

var reasonNames = [...]string{"not refused", "object not prepared", "fenced", "beyond the sealed end", "not at the committed end", "head full", "state object not live", "malformed"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown reason"
}
