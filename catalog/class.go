package catalog

// Class is what the acknowledgement of a record survives (sluice.durability), and so when the
// record is shown and acknowledged.
type Class uint8

// Classes. Numbers are in snapshots: they stay for ever.
const (
	ClassUnset      Class = iota // of no leadership
	ClassLocal                   // on this broker's disk
	ClassReplicated              // and on the disk of every peer in the replica set; with no peer as ClassObject
	ClassObject                  // in the bucket, committed by the quorum
)

var classNames = [...]string{"unset", "local", "replicated", "object"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown class"
}

// ClassOf returns the class that a topic's own configs ask for. They were validated.
func ClassOf(configs map[string]string) Class {
	switch configs[ConfigDurability] {
	case "object":
		return ClassObject
	case "replicated":
		return ClassReplicated
	}
	return ClassLocal // the default of a cluster of one broker
}
