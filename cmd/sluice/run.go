package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

// run opens the listeners, the bucket and the node, and serves. It closes them in reverse. The log
// goes to progress; hello is printed to out once clients are answered.
func run(ctx context.Context, s *settings, hello func(address string) string, out, progress io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(progress, nil))
	defer func() { err = s.explain(err) }()
	s.tellOddities(log)
	clients, admin, err := s.listen(log)
	if err != nil {
		return err
	}
	defer closeListeners(clients, admin)
	remove, err := s.prepareDir(log)
	if err != nil {
		return err
	}
	defer closing(&err, remove)
	b, err := open.Open(ctx, s.bucket, open.Options{Memory: s.config.Bool("sluice.memory.only"), Log: log})
	if err != nil {
		return err
	}
	defer closing(&err, b.Close)
	cfg, err := s.nodeConfig(clients, admin)
	if err != nil {
		return err
	}
	limitMemory(cfg.MemoryBytes(), log)
	n, err := node.Open(ctx, cfg, node.Deps{Bucket: b, Listeners: clients, Admin: admin, Log: log})
	if err != nil {
		return err
	}
	defer closing(&err, n.Close)
	log.Info("listening", "version", version, "address", addresses(clients), "dir", s.dir, "bucket", s.bucketName(),
		"durability", s.durability(), "cluster", n.ClusterID(), "admin", adminAddress(admin))
	if hello != nil {
		_, _ = fmt.Fprint(out, hello(clients[0].Addr().String())) // nobody may be reading out
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() {
		s.tellStopping(log) // before any line that the stop causes
		stop()
	})()
	defer stop()
	return n.Serve(serving)
}

// limitMemory makes the collector work harder before the process takes more than its ceiling.
// Without that, there may be as much garbage as memory in use. A GOMEMLIMIT of the operator has
// precedence.
func limitMemory(bytes int64, log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
	log.Info("memory has a ceiling (docs/operations.md says how it is made up)", "mib", bytes>>20)
}

// tellStopping logs what the first signal has started.
func (s *settings) tellStopping(log *slog.Logger) {
	if s.config.Bool("sluice.memory.only") {
		log.Info("stopping: nothing is kept")
		return
	}
	log.Info(fmt.Sprintf("stopping: flushing up to %v; a second signal ends at once, nothing is lost", s.config.Duration("sluice.stop.timeout")))
}

// closing joins a closer's error to err.
func closing(err *error, close func() error) { *err = errors.Join(*err, close()) }

// durability says what an acknowledged record of a topic without sluice.durability survives.
func (s *settings) durability() string {
	if s.config.Bool("sluice.memory.only") {
		return "none: everything is in memory"
	}
	return "local"
}

func adminAddress(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

func addresses(listeners []node.Listener) string {
	if len(listeners) == 1 {
		return listeners[0].Addr().String()
	}
	var all []string
	for _, l := range listeners {
		all = append(all, l.Name+"://"+l.Addr().String())
	}
	return joined(all)
}

// tellOddities logs, once, the settings that have no effect and the resources that may run out.
func (s *settings) tellOddities(log *slog.Logger) {
	if names := s.config.Meaningless(); len(names) > 0 {
		log.Info("accepted, and without meaning here (docs/configuration.md says why)", "keys", joined(names))
	}
	if places := s.config.Foreign(); len(places) > 0 {
		log.Info("taken for somebody else's variables: no key has these names", "variables", joined(places))
	}
	if have, need := descriptorLimit(), s.descriptorsNeeded(); have < need {
		log.Warn("too few file descriptors: with all connections open, new ones would fail; raise the limit (ulimit -n, LimitNOFILE=), or lower max.connections",
			"limit", have, "needed", need)
	}
}

// kafkasMark is a file that Apache Kafka has in each of its data directories.
const kafkasMark = "meta.properties"

// prepareDir makes the data directory. The function that it returns removes the directory if it was
// in memory.
func (s *settings) prepareDir(log *slog.Logger) (remove func() error, err error) {
	keep := func() error { return nil }
	if s.dir != "" {
		if _, err := os.Stat(filepath.Join(s.dir, kafkasMark)); err == nil {
			return keep, fmt.Errorf("%s is a data directory of Apache Kafka, whose logs are not read here: choose another one (log.dirs)", s.dir)
		}
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return keep, fmt.Errorf("make the data directory (--dir, log.dirs): %w", err)
		}
		return keep, nil
	}
	return s.prepareMemory(log)
}

// memoryBytesMin is how much of the write-ahead log must fit into memory. If less fits, the log
// goes to a temporary folder on disk: containers have 64 MiB of /dev/shm unless told otherwise.
const memoryBytesMin = 512 << 20

// prepareMemory makes a data directory that does not outlive the process.
func (s *settings) prepareMemory(log *slog.Logger) (remove func() error, err error) {
	parent, free := memoryFolder()
	if free/2 < memoryBytesMin {
		parent = ""
	}
	if s.dir, err = os.MkdirTemp(parent, "sluice-memory-"); err != nil {
		return func() error { return nil }, err
	}
	if parent == "" {
		log.Warn("memory has no room for the write-ahead log (1 GiB of /dev/shm): a temporary folder on disk is used, and removed at the end", "dir", s.dir)
	} else if !s.config.IsSet("sluice.wal.budget.bytes") {
		s.walBudget = min(free/2, s.config.Size("sluice.wal.budget.bytes"))
	}
	log.Info("nothing is kept: data directory and bucket are gone when this process ends", "dir", s.dir)
	return func() error {
		log.Info("nothing was kept", "dir", s.dir)
		return os.RemoveAll(s.dir)
	}, nil
}

// lines returns the lines of an error, without empty ones. Cobra's hint after a typing error goes
// onto the line that it belongs to.
func lines(err error) (out []string) {
	// Several suggestions stand on lines of their own.
	text := strings.Replace(err.Error(), "\n\nDid you mean this?\n\t", "; did you mean ", 1)
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
