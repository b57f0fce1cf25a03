package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage/object"
)

// linkReport is what object inspect prints for a snapshot. Scripts use its JSON names, so they
// stay.
type linkReport struct {
	Kind        string                `json:"kind"`
	Number      uint64                `json:"number"`
	Index       uint64                `json:"index"`
	Generation  ident.Generation      `json:"generation"`
	Directory   string                `json:"directory"`
	PreviousCRC string                `json:"previousCRC"`
	CRC         string                `json:"crc"`
	Bytes       int64                 `json:"bytes"`
	Cluster     string                `json:"cluster"`
	Time        time.Time             `json:"time"`
	Restoring   bool                  `json:"restoring,omitempty"`
	Objects     metadata.ObjectCounts `json:"objects"`
	Brokers     []brokerReport        `json:"brokers"`
	Topics      []topicReport         `json:"topics"`
}

type brokerReport struct {
	Node        int32      `json:"node"`
	Directory   string     `json:"directory"`
	Incarnation string     `json:"incarnation"`
	Opened      bool       `json:"opened"`
	Tails       []tailLine `json:"tails,omitempty"`
}

type tailLine struct {
	Incarnation string         `json:"incarnation"`
	End         ident.Position `json:"end"`
}

type topicReport struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Creation   uint64            `json:"creation"`
	Configs    map[string]string `json:"configs,omitempty"`
	Count      int               `json:"partitionCount"`
	Partitions []headReport      `json:"partitions,omitempty"`
}

type headReport struct {
	Partition    int32        `json:"partition"`
	Epoch        ident.Epoch  `json:"epoch"`
	Broker       int32        `json:"broker"`
	LogStart     ident.Offset `json:"logStart"`
	CommittedEnd ident.Offset `json:"committedEnd"`
	RangeCount   int          `json:"rangeCount"`
	Manifest     string       `json:"manifest,omitempty"`
	Version      uint64       `json:"manifestVersion,omitempty"`
	State        string       `json:"state,omitempty"`
	StateEnd     ident.Offset `json:"stateEnd,omitempty"`
}

// inspectLink prints a snapshot. Decoding verifies its checksums, and that commands can have made
// the state.
func inspectLink(ctx context.Context, w io.Writer, s *source, opts object.InspectOptions) error {
	b, err := s.all(ctx)
	if err != nil {
		return err
	}
	link, err := metadata.DecodeLink(b)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	state, err := link.State()
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if n, ok := metadata.ParseLinkKey(s.name); ok && n != link.Number {
		return fmt.Errorf("%s: %w: it says number %d", s.name, metadata.ErrCorrupt, link.Number)
	}
	r := newLinkReport(link, state, s.bytes, opts.Batches)
	if opts.JSON {
		return printJSON(w, r)
	}
	return r.print(w)
}

func newLinkReport(l *metadata.Link, s *metadata.State, bytes int64, details bool) *linkReport {
	r := &linkReport{
		Kind: "snapshot", Number: l.Number, Index: l.Index, Generation: l.Generation, Directory: l.Directory,
		PreviousCRC: fmt.Sprintf("%08x", l.PreviousCRC), CRC: fmt.Sprintf("%08x", l.CRC), Bytes: bytes,
		Cluster: s.ClusterID(), Time: s.Now().UTC(), Restoring: s.Restoring(), Objects: s.ObjectCounts(),
		Brokers: []brokerReport{}, Topics: []topicReport{},
	}
	for _, b := range s.Brokers() {
		line := brokerReport{Node: b.Node, Directory: b.Directory, Incarnation: b.Incarnation.String(), Opened: b.Opened}
		for _, t := range b.Tails {
			line.Tails = append(line.Tails, tailLine{t.Incarnation.String(), t.End})
		}
		r.Brokers = append(r.Brokers, line)
	}
	for _, t := range s.Topics() {
		line := topicReport{Name: t.Name, ID: t.ID.String(), Creation: t.Creation, Configs: t.Configs, Count: len(t.Partitions)}
		if details {
			for _, h := range s.Heads(t.ID) {
				line.Partitions = append(line.Partitions, newHeadReport(&h))
			}
		}
		r.Topics = append(r.Topics, line)
	}
	return r
}

func newHeadReport(h *catalog.Head) headReport {
	r := headReport{
		Partition: h.Partition.Index, Epoch: h.Leader.Epoch, Broker: h.Leader.Broker,
		LogStart: h.LogStart, CommittedEnd: h.CommittedEnd, RangeCount: len(h.Ranges),
	}
	if h.Manifest.Object != 0 {
		r.Manifest, r.Version = h.Manifest.Object.String(), h.Manifest.Version
	}
	if h.State.Object != 0 {
		r.State, r.StateEnd = h.State.Object.String(), h.State.End
	}
	return r
}

func (r *linkReport) print(w io.Writer) (err error) {
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	line("snapshot %d: %d bytes, generation %d, written by directory %s", r.Number, r.Bytes, r.Generation, r.Directory)
	line("  cluster %s at index %d, %s", r.Cluster, r.Index, r.Time.Format("2006-01-02T15:04:05.000Z"))
	line("  crc32c %s, the link before it %s", r.CRC, r.PreviousCRC)
	line("  objects: %d live, %d prepared, %d to be deleted", r.Objects.Live, r.Objects.Prepared, r.Objects.Unreferenced)
	if r.Restoring {
		line("  a restore was not finished when it was taken")
	}
	for _, b := range r.Brokers {
		line("  broker %d in directory %s: incarnation %s, opened: %t, %d sealed tails", b.Node, b.Directory, b.Incarnation, b.Opened, len(b.Tails))
		for _, t := range b.Tails {
			line("    tail %s up to %d", t.Incarnation, t.End)
		}
	}
	for i := range r.Topics {
		t := &r.Topics[i]
		line("  topic %s: id %s, creation %d, %d partitions, configs %v", t.Name, t.ID, t.Creation, t.Count, t.Configs)
		for _, h := range t.Partitions {
			line("    %d: [%d,%d) committed, broker %d, epoch %d, %d ranges, manifest %s version %d, state in %s up to %d",
				h.Partition, h.LogStart, h.CommittedEnd, h.Broker, h.Epoch, h.RangeCount, orNone(h.Manifest), h.Version, orNone(h.State), h.StateEnd)
		}
	}
	line("all checksums are right")
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
