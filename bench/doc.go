// Command bench measures Sluice, Apache Kafka and the limits of the machine side by side.
//
//	go run ./bench compare                       # everything; make bench builds first
//	go run ./bench compare --only throughput-4   # one cell
//	go run ./bench report bench/results/…        # the page again, also of several results
//	go run ./bench limit null                    # one limit, as a target for any client
//
// Its parts are load (workloads and clients, for any Kafka; also used by sluice bench), limits
// (servers that do as little as a client allows, and probes), compare (order, runs, report), kafka
// (starts Apache Kafka) and results (runs that are kept). docs/benchmarks.md says what the cells
// are and how to read them. Imports: bench/compare, bench/limits.
package main
