package catalog

// Class is what an acknowledged record survives (sluice.durability). It thus decides when a record
// is shown and acknowledged.
type Class uint8

// The numbers of the classes are in snapshots: they never change.
const (
	ClassUnset Class = iota // nothing is acknowledged: a deleted topic has it
	ClassLocal              // the record is on this broker's disk
	// The record is also on the disk of every peer in the replica set. Without a peer the class
	// acts as ClassObject.
	ClassReplicated
	ClassObject // the record is in the bucket and committed by the quorum
)

var classNames = [...]string{"unset", "local", "replicated", "object"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown class"
}

// ClassOf returns the class that a topic's own configs ask for. The configs have been validated.
func ClassOf(configs map[string]string) Class {
	switch configs[ConfigDurability] {
	case "object":
		return ClassObject
	case "replicated":
		return ClassReplicated
	}
	return ClassLocal // the default of a cluster of one broker
}
