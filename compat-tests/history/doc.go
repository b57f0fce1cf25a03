// Package history records what clients of a broker did and saw, and judges it.
//
// A [History] holds, on one monotonic clock, every record that was handed to a producer with its
// outcome ([Send]), every batch that a reader was shown ([Batch]), every statement about a
// partition's ends ([Bounds]), and every complete read ([Sweep]). [History.Check] returns a list of
// [Anomaly]. The list is empty if one append-only log per partition explains what was seen.
//
// [Groups] does the same for consumer groups. It holds every commit ([Commit]), every answer to
// OffsetFetch ([Answer]), every assignment, and every record on its way to a member. [Groups.Check]
// returns a list of [GroupAnomaly], and [Groups.Story] what happened around one. Each partition of
// a group is judged as one register.
//
// Both promise to report nothing for a history that a correct broker can produce: an outcome that
// the client could not know (timeout, lost connection) may go either way. They do not know
// transactions or compaction. All checks sort or hash and none searches, so that 10^6 records take
// seconds.
//
// The methods may be called concurrently. Check must be called when the recording is over. Imports:
// the standard library.
package history
