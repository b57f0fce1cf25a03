// Package crashfs is a file system in memory that behaves like a disk at its worst.
//
// It owns no real file. It promises that what was synced survives [FS.Crash], and nothing else. A
// seed decides what happens to the rest: each 4 KiB page that was written and not synced, and each
// 512-byte sector in it, survives, is lost or turns into garbage; a name that was made, replaced or
// removed without SyncDir on its folder is there or not. FS can fail any one call ([FS.FailAt],
// [FS.SetHook]) and stop at any one call ([FS.KillAt]). A test then takes up the disk as a power
// cut left it ([FS.Crash]), or as a killed process left it ([FS.Kill]), whose page cache survives.
//
// A failed sync marks the dirty pages clean, as Linux does: the bytes can be read until the crash
// and are gone after it, and the next sync "succeeds".
//
// Types to know: [FS], a [vfs.FS]; [Call], one entry of its history. Calls may be concurrent. One
// mutex guards everything and is not held while a hook runs.
//
// Imports: vfs.
package crashfs
