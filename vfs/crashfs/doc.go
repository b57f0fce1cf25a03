// Package crashfs is a file system in memory that behaves like a disk at its worst.
//
// It owns no real file. It promises that what was synced survives [FS.Crash] and nothing
// else: of what was written and not synced each 4 KiB page, and each 512 byte sector in it,
// survives, is lost or turns into garbage, as a seed decides; a name that was
// made, replaced or removed without SyncDir on its folder is there or not. It
// fails any one call ([FS.FailAt], [FS.SetHook]) and stops at any one call
// ([FS.KillAt]), after which the disk is taken up again as a power cut
// ([FS.Crash]) or a killed process ([FS.Kill], whose page cache lives on) left it.
//
// A failed sync marks the dirty pages clean, as Linux does: the bytes can be
// read until the crash and are gone after it, and the next sync "succeeds".
//
// Types to know: [FS], a [vfs.FS]; [Call], one entry of its history. Calls may be
// concurrent; one mutex guards everything and is not held while a hook runs.
//
// Imports: vfs.
package crashfs
