package node

import (
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
)

// Report says how far a restore went back, what it brought and what it did not. Its JSON names are for scripts and stay.
type Report struct {
	Cluster   string         `json:"cluster"`
	Dir       string         `json:"dir"`
	Directory string         `json:"directory"` // the new directory's UUID
	Snapshot  SnapshotReport `json:"snapshot"`  // where it began
	Link      uint64         `json:"link"`      // the snapshot that it stored; 0: it did not come so far
	// Generation is that of the restored cluster.
	Generation ident.Generation `json:"generation"`
	Topics     int              `json:"topics"`
	Partitions int              `json:"partitions"`
	Objects    ObjectsReport    `json:"objects"`
	// Offsets counts the offsets above the snapshot's ends that came back.
	Offsets   int64           `json:"offsets"`
	LeftOut   []LeftOutReport `json:"leftOut,omitempty"`
	EpochSeen ident.Epoch     `json:"epochSeen"` // the highest leader epoch of before
	Epoch     ident.Epoch     `json:"epoch"`     // above which all leader epochs are now
}

// SnapshotReport is the link that a restore began from. Number 0: there was none.
type SnapshotReport struct {
	Number     uint64           `json:"number"`
	Index      uint64           `json:"index"`
	Time       time.Time        `json:"time"` // of the last command in it
	Generation ident.Generation `json:"generation"`
	Directory  string           `json:"directory"`
}

// ObjectsReport counts objects of the cluster in the bucket.
type ObjectsReport struct {
	Listed    int         `json:"listed"`
	Unsettled int         `json:"unsettled"` // the snapshot does not say what became of them
	Read      int         `json:"read"`      // of these, bundles: their footers were read
	Applied   int         `json:"applied"`   // of these, hold something that came back
	Unused    int         `json:"unused"`    // of these, hold nothing that came back: will be deleted
	Kept      []string    `json:"kept,omitempty"`
	Damaged   []BadObject `json:"damaged,omitempty"` // stay in the bucket
	Foreign   []BadObject `json:"foreign,omitempty"` // stay in the bucket
}

// BadObject is an object that a restore could not use.
type BadObject struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// LeftOutReport is a run of records that lies in the bucket and did not come back.
type LeftOutReport struct {
	Topic     string       `json:"topic"`
	TopicID   string       `json:"topicId"`
	Partition int32        `json:"partition"`
	Epoch     ident.Epoch  `json:"epoch"`
	Start     ident.Offset `json:"start"`
	End       ident.Offset `json:"end"`
	Key       string       `json:"key"`
	Reason    string       `json:"reason"`
}

// tell fills the report in from the plan and the state that it leads to.
func (r *restorer) tell(after *metadata.State) {
	for i := range r.plan.LeftOut {
		f := &r.plan.LeftOut[i].Section
		r.report.LeftOut = append(r.report.LeftOut, LeftOutReport{
			Topic: f.Name, TopicID: f.Topic.String(), Partition: f.Partition, Epoch: f.Range.Epoch,
			Start: f.Range.Start, End: f.Range.End, Key: r.keys[f.Range.Object], Reason: r.plan.LeftOut[i].Reason,
		})
	}
	applied := make(map[ident.ObjectID]bool)
	for _, f := range r.plan.Placed {
		r.report.Offsets += int64(f.Range.End - f.Range.Start)
		for _, id := range []ident.ObjectID{f.Range.Object, f.State.Object} {
			if r.keys[id] != "" {
				applied[id] = true
			}
		}
	}
	r.report.Objects.Applied, r.report.Objects.Unused = len(applied), len(r.plan.Unused)
	r.report.Topics = len(after.Topics())
	r.report.Epoch = ident.NoEpoch
	for _, t := range after.Topics() {
		for _, h := range after.Heads(t.ID) {
			r.report.Partitions++
			r.report.Epoch = max(r.report.Epoch, h.Leader.Epoch)
		}
	}
	r.report.EpochSeen = max(ident.NoEpoch, r.report.Epoch-metadata.RestoreEpochStep)
}
