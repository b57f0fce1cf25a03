// Package compare measures systems side by side: Sluice, Apache Kafka, and limits that do as little as a
// Kafka client lets them, all on this machine, one at a time.
//
// It owns what is compared ([Systems]), what is measured ([Cells]), the order, and the report. [Compare] plays each
// cell on each of its systems, systems in rotating order, several rounds; each in an empty folder, on free ports, after
// what earlier runs wrote has reached the disk, so that nobody pays for another's write-back. JVMs are warmed by a load that is thrown
// away. The figures go to result.json after every run; [Report] makes the page and the chart of one result or of several.
//
// It judges nothing. Beside a figure stand its minimum and maximum, how much CPU others used, and whether the
// client was the limit; beside a ratio stands what is aimed at. Cells are taken whole from one result: ratios hold within a run.
//
// Everything runs on the goroutine that called Compare. A [process] has one that waits for its end.
// result.json is versioned by its field format (result.go).
//
// Imports: bench/load, bench/limits, franz-go to ask a broker whether it is there.
package compare
