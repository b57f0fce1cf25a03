// Package object owns the formats of what the bucket holds: the bundle, which holds batches of many
// partitions and is what a flush writes (a segment is a bundle with a single partition); the
// manifest of a partition, a root with bounded leaves; and the keys of both.
//
// It promises that every byte is covered by a checksum that readers verify, that no length is
// believed before it is compared with a maximum, and that an object can be understood from its end
// alone, with two reads (E1). Damage is a [*CorruptError], which is [ErrCorrupt]; a newer format is
// [ErrVersion]. The package does not upload, read or cache: callers bring the bytes, or a
// [ReadFunc].
//
// Types to know: [Bundle] lays out sections without copying a batch. [SectionInfo] is a section as
// read back, with its batch index. [Root] and [Leaf] are a manifest, and [Absorb] and [Release]
// plan its next version without I/O.
//
// One bundle, by function names: [NewBundle], [Bundle.AddSection] for each section (addBatches
// notes where its batches will stand), and [Bundle.Finish], which adds the section blocks, the
// footer and the trailer, and composes the checksum of the whole from those of the parts. A reader
// that has a range from the catalog decodes its section block ([DecodeSection]), looks an offset up
// in the index ([Find], [FindTime]) and checks each batch ([VerifyBatch]). Whoever knows only the
// key reads the end first ([ReadFooter]), as restore and [Inspect] do.
//
// One change of a manifest: [AbsorbNeeds] or [ReleaseNeeds] say which leaf must be read, [Absorb]
// or [Release] make a [Plan], and [Plan.Encode] gives its objects, the root last.
//
// There are no goroutines and no locks: values belong to their caller.
//
// Formats: bundle_format.go with docs/formats/bundle.md, manifest_format.go with
// docs/formats/manifest.md. Imports: ident, catalog, protocol, internal/crc32c.
package object
