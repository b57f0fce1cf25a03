// Package history records what clients of a broker did and saw, and judges it.
//
// A [History] holds, on one monotonic clock, every record that was handed to a
// producer with its outcome ([Send]), every batch that a reader was shown
// ([Batch]), every statement about a partition's ends ([Bounds]), and every
// complete read ([Sweep]). [History.Check] returns the [Anomaly] list: empty if
// what was seen can be explained by one append-only log per partition.
//
// [Groups] does the same for consumer groups: every commit ([Commit]), every
// answer to OffsetFetch ([Answer]), every assignment and every record on its way
// to a member. [Groups.Check] returns a [GroupAnomaly] list, and [Groups.Story]
// what lies around one. Each partition of a group is judged as one register.
//
// Both promise to report nothing for a history that a correct broker can
// produce: an outcome that the client could not know (timeout, lost connection) may go
// either way. They do not know transactions or compaction. All
// passes sort or hash, none searches: 10^6 records take seconds.
//
// The methods may be called concurrently; Check wants the recording to be
// over. Imports: the standard library.
package history
