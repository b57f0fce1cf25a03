//go:build !linux

package main

// memoryFolder is where files are in memory: nowhere that is known, so the system's temporary folder.
func memoryFolder() (folder string, freeBytes int64) { return "", 0 }
