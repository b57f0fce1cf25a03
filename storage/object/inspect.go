package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
)

// InspectOptions say how Inspect prints. Checksums are verified in any case.
type InspectOptions struct {
	JSON    bool // one JSON document instead of text
	Batches bool // list every batch or range, not only their number
}

// runBytesMax is how much of an object Inspect holds in memory at a time.
const runBytesMax = 8 << 20

// report is what Inspect prints. Scripts use its JSON names, so they stay.
type report struct {
	Kind       string          `json:"kind"`
	Object     string          `json:"object"`
	Writer     string          `json:"writer"`
	Cluster    string          `json:"cluster"`
	Generation uint16          `json:"generation"`
	Bytes      int64           `json:"bytes"`
	Manifest   *manifestReport `json:"manifest,omitempty"`
	Sections   []sectionReport `json:"sections,omitempty"`
	Damage     []string        `json:"damage,omitempty"`
}

type manifestReport struct {
	Partition  string        `json:"partition"`
	Version    uint64        `json:"version"` // 0 for a leaf
	Start      ident.Offset  `json:"start"`
	End        ident.Offset  `json:"end"`
	RangeCount int64         `json:"rangeCount"`
	DataBytes  int64         `json:"dataBytes"`
	Released   int32         `json:"released"` // ranges of the first leaf
	Leaves     []leafReport  `json:"leaves,omitempty"`
	Ranges     []rangeReport `json:"ranges,omitempty"`
}

type leafReport struct {
	Object       string       `json:"object"`
	Writer       string       `json:"writer"`
	Start        ident.Offset `json:"start"`
	End          ident.Offset `json:"end"`
	RangeCount   int32        `json:"rangeCount"`
	DataBytes    int64        `json:"dataBytes"`
	MaxTimestamp int64        `json:"maxTimestamp"`
}

type rangeReport struct {
	Object        string       `json:"object"`
	Writer        string       `json:"writer"`
	Start         ident.Offset `json:"start"`
	End           ident.Offset `json:"end"`
	Incarnation   string       `json:"incarnation"`
	Epoch         ident.Epoch  `json:"epoch"`
	Bytes         int64        `json:"bytes"`
	IndexPosition int64        `json:"indexPosition"`
	IndexBytes    int32        `json:"indexBytes"`
	MaxTimestamp  int64        `json:"maxTimestamp"`
}

type batchReport struct {
	Start        ident.Offset `json:"start"`
	End          ident.Offset `json:"end"`
	Position     int64        `json:"position"`
	Bytes        int32        `json:"bytes"`
	CRC          string       `json:"crc32c"`
	MaxTimestamp int64        `json:"maxTimestamp"`
}

type sectionReport struct {
	Topic             string            `json:"topic"`
	Name              string            `json:"name"`
	Creation          uint64            `json:"creation"`
	Partition         int32             `json:"partition"`
	PartitionCount    int32             `json:"partitionCount"`
	ReplicationFactor int16             `json:"replicationFactor"`
	Configs           map[string]string `json:"configs,omitempty"`
	LogStart          ident.Offset      `json:"logStart"`
	Incarnation       string            `json:"incarnation"`
	Epoch             ident.Epoch       `json:"epoch"`
	Start             ident.Offset      `json:"start"`
	End               ident.Offset      `json:"end"`
	WALEnd            ident.Position    `json:"walEnd"`
	Position          int64             `json:"position"`
	Bytes             int64             `json:"bytes"`
	MaxTimestamp      int64             `json:"maxTimestamp"`
	BatchCount        int               `json:"batchCount"`
	StateBytes        int32             `json:"stateBytes,omitempty"`
	StateEnd          ident.Offset      `json:"stateEnd,omitempty"`
	BaseObject        string            `json:"baseObject,omitempty"`
	Batches           []batchReport     `json:"batches,omitempty"`
}

// Inspect prints a whole bundle, segment or manifest and verifies every checksum in it. Damage is
// printed with the rest, and makes the returned error an ErrCorrupt.
func Inspect(ctx context.Context, w io.Writer, read ReadFunc, objectBytes int64, opts InspectOptions) error {
	var magic [4]byte
	if objectBytes < int64(len(magic)) {
		return &CorruptError{What: "size of object", Got: uint64(objectBytes), Want: headerBytes}
	}
	if err := read(ctx, magic[:], 0); err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	var r *report
	var err error
	switch le.Uint32(magic[:]) {
	case headerMagic:
		r, err = inspectBundle(ctx, read, objectBytes, opts)
	case manifestMagic:
		r, err = inspectManifest(ctx, read, objectBytes, opts)
	default:
		err = &CorruptError{What: "magic of bundle or manifest", Got: uint64(le.Uint32(magic[:])), Want: headerMagic}
	}
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	if err := r.print(w, opts); err != nil {
		return fmt.Errorf("inspect: print: %w", err)
	}
	if len(r.Damage) > 0 {
		return fmt.Errorf("%w %s: %d parts are damaged, first: %s", ErrCorrupt, r.Object, len(r.Damage), r.Damage[0])
	}
	return nil
}

func inspectBundle(ctx context.Context, read ReadFunc, objectBytes int64, opts InspectOptions) (*report, error) {
	r := &report{Kind: string(KindBundle), Bytes: objectBytes}
	f, err := ReadFooter(ctx, read, objectBytes)
	if err != nil {
		return nil, err
	}
	r.Object = f.Object.String()
	head := make([]byte, headerBytes)
	if err := read(ctx, head, 0); err != nil {
		return nil, err
	}
	h, err := DecodeHeader(head)
	r.damage(err)
	if err == nil && (h.Object != f.Object || checksum([]byte(h.ClusterID)) != f.ClusterHash) {
		r.Damage = append(r.Damage, "header and trailer are not of the same object")
	}
	r.Writer, r.Cluster, r.Generation = h.Incarnation.String(), h.ClusterID, uint16(h.Generation)
	covered := int64(headerBytes)
	for _, s := range f.Sections {
		if s.DataPosition != covered {
			r.damage(&CorruptError{Object: s.Object, Position: s.Block.Position, What: "data position", Want: uint64(covered), Got: uint64(s.DataPosition)})
		}
		covered = s.DataPosition + s.DataBytes + int64(s.StateExtent.Bytes)
		if err := r.inspectSection(ctx, read, s, opts); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// damage adds an error to what is printed.
func (r *report) damage(err error) {
	if err != nil {
		r.Damage = append(r.Damage, err.Error())
	}
}

func (r *report) inspectSection(ctx context.Context, read ReadFunc, s *SectionInfo, opts InspectOptions) error {
	out := sectionReport{
		Topic: s.Topic.String(), Name: s.Name, Creation: s.Creation, Partition: s.Partition, PartitionCount: s.PartitionCount,
		ReplicationFactor: s.ReplicationFactor, Configs: s.Configs, LogStart: s.LogStart, Incarnation: s.Incarnation.String(),
		Epoch: s.Epoch, Start: s.Start, End: s.End, WALEnd: s.WALEnd, Position: s.DataPosition, Bytes: s.DataBytes,
		MaxTimestamp: s.MaxTimestamp, BatchCount: len(s.Index), StateBytes: s.StateExtent.Bytes, StateEnd: s.StateEnd,
	}
	if s.Base.Object != 0 {
		out.BaseObject = s.Base.Object.String()
	}
	for i := range s.Index {
		if e := &s.Index[i]; opts.Batches {
			out.Batches = append(out.Batches, batchReport{e.Start, e.End, e.Position, e.Bytes, fmt.Sprintf("%08x", e.CRC), e.MaxTimestamp})
		}
	}
	r.Sections = append(r.Sections, out)
	for index := s.Index; len(index) > 0; {
		n, bytes := 1, int64(index[0].Bytes)
		for n < len(index) && bytes+int64(index[n].Bytes) <= runBytesMax {
			bytes += int64(index[n].Bytes)
			n++
		}
		run := make([]byte, bytes)
		if err := read(ctx, run, index[0].Position); err != nil {
			return err
		}
		for i := range index[:n] {
			r.damage(s.verifyStored(&index[i], run[index[i].Position-index[0].Position:][:index[i].Bytes]))
		}
		index = index[n:]
	}
	if s.StateExtent.Bytes > 0 {
		state := make([]byte, s.StateExtent.Bytes)
		if err := read(ctx, state, s.StateExtent.Position); err != nil {
			return err
		}
		r.damage(s.VerifyState(state))
	}
	return nil
}

// verifyStored compares a batch with its index entry and with its own header.
func (s *SectionInfo) verifyStored(e *IndexEntry, b []byte) error {
	if err := VerifyBatch(e, b); err != nil {
		return fmt.Errorf("%s-%d [%d,%d): %w", s.Name, s.Partition, e.Start, e.End, err)
	}
	h, err := protocol.ParseBatchHeader(b)
	if err == nil {
		err = protocol.VerifyCRC(b)
	}
	if err == nil && (h.Bytes != len(b) || h.BaseOffset != int64(e.Start) || h.End() != int64(e.End) || h.LeaderEpoch != int32(s.Epoch)) {
		err = fmt.Errorf("batch says [%d,%d) of epoch %d in %d bytes", h.BaseOffset, h.End(), h.LeaderEpoch, h.Bytes)
	}
	if err != nil {
		return fmt.Errorf("%s-%d [%d,%d) at position %d: %w", s.Name, s.Partition, e.Start, e.End, e.Position, err)
	}
	return nil
}

func inspectManifest(ctx context.Context, read ReadFunc, objectBytes int64, opts InspectOptions) (*report, error) {
	if objectBytes > ManifestBytesMax {
		return nil, &CorruptError{What: "size of manifest (at most)", Got: uint64(objectBytes), Want: ManifestBytesMax}
	}
	b := make([]byte, objectBytes)
	if err := read(ctx, b, 0); err != nil {
		return nil, err
	}
	root, err := decodeRoot(b)
	if err == nil {
		r := reportManifest("manifest root", &root.ManifestHeader, objectBytes, root.Ranges, opts)
		r.Manifest.Version, r.Manifest.Released = root.Version, root.Skip
		for i := range root.Leaves {
			l := &root.Leaves[i]
			r.Manifest.Leaves = append(r.Manifest.Leaves,
				leafReport{l.Object.String(), l.Writer.String(), l.Start, l.End, l.RangeCount, l.DataBytes, l.MaxTimestamp})
		}
		return r, nil
	}
	leaf, leafErr := decodeLeaf(b)
	if leafErr != nil {
		return nil, errors.Join(err, leafErr)
	}
	return reportManifest("manifest leaf", &leaf.ManifestHeader, objectBytes, leaf.Ranges, opts), nil
}

// reportManifest reports what roots and leaves have in common.
func reportManifest(kind string, h *ManifestHeader, objectBytes int64, ranges []catalog.Range, opts InspectOptions) *report {
	m := &manifestReport{Partition: h.Partition.String(), Start: h.Start, End: h.End, RangeCount: h.RangeCount, DataBytes: h.DataBytes}
	for i := range ranges {
		if g := &ranges[i]; opts.Batches {
			m.Ranges = append(m.Ranges, rangeReport{
				g.Object.String(), g.Writer.String(), g.Start, g.End, g.Incarnation.String(), g.Epoch,
				g.Bytes, g.Index.Position, g.Index.Bytes, g.MaxTimestamp,
			})
		}
	}
	return &report{
		Kind: kind, Object: h.Object.String(), Writer: h.Writer.String(), Cluster: h.ClusterID,
		Generation: uint16(h.Object.Generation()), Bytes: objectBytes, Manifest: m,
	}
}

// print writes the report through a printer that keeps its first error.
func (r *report) print(w io.Writer, opts InspectOptions) error {
	if opts.JSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	p := &printer{w: w}
	p.line("%s %s: %d bytes, written by incarnation %s, cluster %s, generation %d", r.Kind, r.Object, r.Bytes, r.Writer, r.Cluster, r.Generation)
	if r.Manifest != nil {
		r.Manifest.print(p)
	}
	for i := range r.Sections {
		r.Sections[i].print(p)
	}
	for _, d := range r.Damage {
		p.line("DAMAGED %s", d)
	}
	if len(r.Damage) == 0 {
		p.line("all checksums are right")
	}
	return p.err
}

func (m *manifestReport) print(p *printer) {
	p.line("  partition %s [%d,%d): %d ranges, %d bytes", m.Partition, m.Start, m.End, m.RangeCount, m.DataBytes)
	if m.Version > 0 {
		p.line("  version %d, %d leaves, %d ranges of the first leaf released", m.Version, len(m.Leaves), m.Released)
	}
	for _, l := range m.Leaves {
		p.line("  leaf %s of %s [%d,%d): %d ranges, %d bytes of data, up to %s", l.Object, l.Writer, l.Start, l.End, l.RangeCount, l.DataBytes, printTime(l.MaxTimestamp))
	}
	for _, g := range m.Ranges {
		p.line("  range [%d,%d) in object %s of %s: epoch %d, incarnation %s, %d bytes, index at %d, up to %s",
			g.Start, g.End, g.Object, g.Writer, g.Epoch, g.Incarnation, g.Bytes, g.IndexPosition, printTime(g.MaxTimestamp))
	}
}

func (s *sectionReport) print(p *printer) {
	p.line("  %s-%d [%d,%d): %d batches, %d bytes at %d, up to %s", s.Name, s.Partition, s.Start, s.End, s.BatchCount, s.Bytes, s.Position, printTime(s.MaxTimestamp))
	p.line("    topic %s, creation %d, %d partitions, replication factor %d, configs %v", s.Topic, s.Creation, s.PartitionCount, s.ReplicationFactor, s.Configs)
	p.line("    epoch %d, incarnation %s up to WAL position %d, log start %d", s.Epoch, s.Incarnation, s.WALEnd, s.LogStart)
	switch {
	case s.StateBytes > 0 && s.BaseObject != "":
		p.line("    state up to %d: %d bytes, a delta on a base in object %s", s.StateEnd, s.StateBytes, s.BaseObject)
	case s.StateBytes > 0:
		p.line("    state up to %d: %d bytes, whole", s.StateEnd, s.StateBytes)
	}
	for _, e := range s.Batches {
		p.line("    batch [%d,%d): %d bytes at %d, crc32c %s, up to %s", e.Start, e.End, e.Bytes, e.Position, e.CRC, printTime(e.MaxTimestamp))
	}
}

func printTime(ms int64) string {
	if ms < 0 {
		return "no time"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// printer keeps its first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
