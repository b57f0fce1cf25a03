package compare

import (
	"fmt"

	"github.com/sluicemq/sluice/bench/load"
)

const (
	coldTopic = "cold"
	coldBytes = 4608 << 20 // more than 4 GiB, and much more than the broker's memory
	coldReads = 3

	replayBytes = 3 << 30
)

// fetchCold reads a log that is in no memory: neither the broker's nor the page cache.
func fetchCold(st *stage) error {
	if err := dropCaches(); err != nil {
		return fmt.Errorf("drop the page cache: %w", err)
	}
	return readAgain(st, coldBytes, dropCaches)
}

// replay reads a log that the broker has only in its bucket. The limit beside it reads the same
// bytes from the same store.
func replay(st *stage) error {
	if st.system.Name != "raw-get" {
		return readAgain(st, replayBytes, func() error { return nil })
	}
	for range coldReads {
		figures, err := probeMinIO(st, replayBytes)
		if err != nil {
			return fmt.Errorf("GETs of MinIO: %w", err)
		}
		figures["mib_per_second"] = figures["get_mib_per_second"]
		st.figures = append(st.figures, figures)
	}
	return nil
}

// readAgain fills a log. Then, three times, it starts the broker on the log, calls prepareRead, and
// reads everything once.
func readAgain(st *stage, bytes int64, prepareRead func() error) error {
	r, err := prepare(st.ctx, &st.o.Tools, st.system, st.dir, nil)
	if err != nil {
		return err
	}
	defer r.kill()
	w, _ := load.Named("fetch-cold")
	w.TopicPrefix, w.Keep, w.FillBytes = coldTopic, true, bytes
	if err := r.startBroker(st.ctx); err != nil {
		return err
	}
	if _, err := load.Run(st.ctx, r.target(), w, st.options()); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	w.Reuse = true
	for range coldReads {
		// A clean stop moves what is in the write-ahead log to the bucket.
		if err := r.stopBroker(); err != nil {
			return err
		}
		if err := r.startBroker(st.ctx); err != nil {
			return err
		}
		if err := st.warm(r); err != nil {
			return err
		}
		if err := prepareRead(); err != nil {
			return err
		}
		if err := st.load(r, w); err != nil {
			return err
		}
	}
	return nil
}
