package main

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/storage"
)

// settings are what a broker runs with: flags, and budgets and intervals from SLUICE_… variables.
type settings struct {
	dir    string
	listen string
	bucket string // URL; empty: a folder in dir

	storage          storage.Config
	broker           broker.Config
	snapshotInterval time.Duration // longest time between links of the snapshot chain
	snapshotSoon     time.Duration // after an administrative change
	bucketWait       time.Duration // how long the first start waits for an unreachable bucket
	stopTimeout      time.Duration // for requests in flight, the last flush and the last snapshot
}

// variable is one SLUICE_… environment variable.
type variable struct {
	name string
	help string
	set  func(value string) error
}

// variables lists what the environment may set, beside the broker's defaults.
func (s *settings) variables() []variable {
	return []variable{
		{"SLUICE_WAL_BUDGET_BYTES", "bytes that the write-ahead log may hold", bytesVar(&s.storage.WALBudgetBytes)},
		{"SLUICE_WAL_SEGMENT_BYTES", "size of one write-ahead log file", bytesVar(&s.storage.WALSegmentBytes)},
		{"SLUICE_HOT_BYTES", "memory for the newest batches", bytesVar(&s.storage.HotBytes)},
		{"SLUICE_CACHE_BYTES", "memory for blocks read from the bucket", bytesVar(&s.storage.CacheBytes)},
		{"SLUICE_UNFLUSHED_BATCHES_MAX", "batches that may wait for the bucket", bytesVar(&s.storage.UnflushedBatchesMax)},
		{"SLUICE_FLUSH_INTERVAL", "longest time that data stays out of the bucket", durationVar(&s.storage.FlushInterval)},
		{"SLUICE_FLUSH_BYTES", "bytes that start a flush, and size of a bundle", bytesVar(&s.storage.FlushBytes)},
		{"SLUICE_UPLOAD_PARALLEL", "bundles uploaded at once", intVar(&s.storage.UploadParallel)},
		{"SLUICE_RETENTION_CHECK_INTERVAL", "how often retention is applied", durationVar(&s.storage.RetentionInterval)},
		{"SLUICE_DELETE_DELAY", "how long an unreferenced object stays", durationVar(&s.storage.DeleteDelay)},
		{"SLUICE_SNAPSHOT_INTERVAL", "longest time between metadata snapshots in the bucket", durationVar(&s.snapshotInterval)},
		{"SLUICE_SNAPSHOT_AFTER_CHANGE", "time from an administrative change to its snapshot", durationVar(&s.snapshotSoon)},
		{"SLUICE_BUCKET_WAIT", "how long a first start waits for the bucket", durationVar(&s.bucketWait)},
		{"SLUICE_STOP_TIMEOUT", "how long a stop may take", durationVar(&s.stopTimeout)},
		{"SLUICE_CONNECTIONS_MAX", "open connections", intVar(&s.broker.ConnectionsMax)},
		{"SLUICE_CONNECTIONS_PER_IP_MAX", "open connections of one address", intVar(&s.broker.ConnectionsPerIPMax)},
		{"SLUICE_REQUEST_MEMORY_BYTES", "memory for requests in flight", bytesVar(&s.broker.MemoryBytesMax)},
		{"SLUICE_NUM_PARTITIONS", "partitions of topics created without a number", int32Var(&s.broker.PartitionsDefault)},
	}
}

// readEnvironment applies SLUICE_… variables. Every problem is reported; an unknown name is one.
func (s *settings) readEnvironment(environ []string) error {
	known := make(map[string]variable)
	for _, v := range s.variables() {
		known[v.name] = v
	}
	var errs []error
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "SLUICE_") || toolVariables[name] {
			continue
		}
		v, ok := known[name]
		if !ok {
			errs = append(errs, fmt.Errorf("unknown variable %s: known are %s", name, strings.Join(variableNames(known), ", ")))
			continue
		}
		if err := v.set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q (%s): %w", name, value, v.help, err))
		}
	}
	return errors.Join(errs...)
}

// toolVariables belong to the build, the tests and the commands that are clients.
var toolVariables = map[string]bool{"SLUICE_BROKERS": true, "SLUICE_BIN": true, "SLUICE_TOOLS": true, "SLUICE_LONG": true, "SLUICE_SEED": true}

func variableNames(known map[string]variable) []string {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func durationVar(p *time.Duration) func(string) error {
	return func(v string) error {
		d, err := time.ParseDuration(v)
		if err == nil && d <= 0 {
			err = errors.New("want a duration above zero, such as 500ms or 10s")
		}
		*p = d
		return err
	}
}

// bytesVar takes a number with an optional KiB, MiB or GiB.
func bytesVar(p *int64) func(string) error {
	return func(v string) error {
		unit := int64(1)
		for i, suffix := range []string{"KiB", "MiB", "GiB"} {
			if s, ok := strings.CutSuffix(v, suffix); ok {
				v, unit = s, 1<<(10*(i+1))
			}
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil || n <= 0 {
			return errors.New("want a number above zero, such as 1048576 or 64MiB")
		}
		*p = n * unit
		return nil
	}
}

func intVar(p *int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 {
			return errors.New("want a number above zero")
		}
		*p = n
		return nil
	}
}

func int32Var(p *int32) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n <= 0 {
			return errors.New("want a number above zero")
		}
		*p = int32(n)
		return nil
	}
}

// environment reads the process's variables into fresh settings.
func environment() (*settings, error) {
	s := &settings{
		snapshotInterval: 10 * time.Minute,
		snapshotSoon:     5 * time.Second,
		bucketWait:       30 * time.Second,
		stopTimeout:      8 * time.Second, // container runtimes kill after ten
	}
	return s, s.readEnvironment(os.Environ())
}
