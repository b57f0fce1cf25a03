package node

import (
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
)

// Report says how far a restore went back, what it brought back and what it did not. Scripts use
// its JSON names, so they stay.
type Report struct {
	Cluster   string         `json:"cluster"`
	Dir       string         `json:"dir"`
	Directory string         `json:"directory"` // the UUID of the new directory
	Snapshot  SnapshotReport `json:"snapshot"`  // where the restore began
	// Number of the snapshot that the restore stored; 0 if it did not get that far.
	Link uint64 `json:"link"`
	// Generation is that of the restored cluster.
	Generation ident.Generation `json:"generation"`
	Topics     int              `json:"topics"`
	Partitions int              `json:"partitions"`
	Objects    ObjectsReport    `json:"objects"`
	// Offsets counts the offsets above the snapshot's ends that came back.
	Offsets   int64           `json:"offsets"`
	LeftOut   []LeftOutReport `json:"leftOut,omitempty"`
	EpochSeen ident.Epoch     `json:"epochSeen"` // the highest leader epoch before the restore
	Epoch     ident.Epoch     `json:"epoch"`     // all leader epochs are above this one now
}

// SnapshotReport is the link from which a restore began. Its number is 0 if there was none.
type SnapshotReport struct {
	Number     uint64           `json:"number"`
	Index      uint64           `json:"index"`
	Time       time.Time        `json:"time"` // the time of the last command in it
	Generation ident.Generation `json:"generation"`
	Directory  string           `json:"directory"`
}

// ObjectsReport counts objects of the cluster in the bucket.
type ObjectsReport struct {
	Listed int `json:"listed"`
	// Unsettled counts the objects whose fate the snapshot does not tell.
	Unsettled int `json:"unsettled"`
	Read      int `json:"read"`    // unsettled bundles, whose footers were read
	Applied   int `json:"applied"` // unsettled objects from which something came back
	// Unsettled objects from which nothing came back; they will be deleted.
	Unused  int         `json:"unused"`
	Kept    []string    `json:"kept,omitempty"`
	Damaged []BadObject `json:"damaged,omitempty"` // they stay in the bucket
	Foreign []BadObject `json:"foreign,omitempty"` // they stay in the bucket
}

// BadObject is an object that a restore could not use.
type BadObject struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// LeftOutReport is a run of records that is in the bucket and did not come back.
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

// tell fills in the report from the plan and from the state to which the plan leads.
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
