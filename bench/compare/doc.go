// Package compare measures systems side by side: Sluice, Apache Kafka, and limits that do as little
// as a Kafka client allows, all on this machine, one at a time.
//
// It owns what is compared ([Systems]), what is measured ([Cells]), the order, and the report.
// [Compare] plays each cell on each of its systems in several rounds, with the systems in rotating
// order. Each run has an empty folder and free ports, and begins after what earlier runs wrote has
// reached the disk, so that no system pays for the write-back of another. JVMs are warmed up by a
// load that is thrown away. The figures go to result.json after every run. [Report] makes the page
// and the chart from one result or several.
//
// It judges nothing. Beside each figure are its minimum and maximum, how much CPU others used, and
// whether the client was the limit. Beside each ratio is its aim. Cells are taken whole from one
// result, since ratios hold only within a run.
//
// Everything runs on the goroutine that called Compare. A [process] has a goroutine that waits for
// its end. result.json is versioned by its field format (result.go).
//
// Imports: bench/load, bench/limits, franz-go to ask whether a broker answers.
package compare
