// Command bench measures Sluice beside Apache Kafka and beside the limits of the machine.
//
//	go run ./bench compare                       # everything, about an hour; make bench builds first
//	go run ./bench compare --only throughput-4   # one cell
//	go run ./bench report bench/results/…        # the page again, also of several results
//	go run ./bench limit null                    # one limit, to point a client at
//
// The parts: load (workloads and clients, for any Kafka; also sluice bench), limits (servers that do as little as a
// client lets them, probes), compare (order, runs, report), kafka (starts Apache Kafka), results (runs that are kept).
// What the cells are and how to read them: docs/benchmarks.md. Imports: bench/compare, bench/limits.
package main
