package storage

type pendingAppend struct{}
