//go:build !linux

package main

// memoryFolder returns "", which stands for the system's temporary folder: no folder is known whose
// files are in memory.
func memoryFolder() (folder string, freeBytes int64) { return "", 0 }
