package compare

import (
	"fmt"

	"github.com/sluicemq/sluice/bench/load"
)

const (
	coldTopic = "cold"
	coldBytes = 4608 << 20 // more than 4 GiB, and far more than the broker's memory
	coldReads = 3
)

// fetchCold fills a log, and then three times starts the broker on it, empties the page cache and reads everything once.
func fetchCold(st *stage) error {
	if err := dropCaches(); err != nil {
		return fmt.Errorf("drop the page cache: %w", err)
	}
	r, err := prepare(st.ctx, &st.o.Tools, st.system, st.dir, nil)
	if err != nil {
		return err
	}
	defer r.kill()
	w, _ := load.Named("fetch-cold")
	w.TopicPrefix, w.Keep, w.FillBytes = coldTopic, true, coldBytes
	if err := r.startBroker(st.ctx); err != nil {
		return err
	}
	if _, err := load.Run(st.ctx, r.target(), w, st.options()); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	w.Reuse = true
	for range coldReads {
		// A clean stop: what the write-ahead log holds goes to the bucket.
		if err := r.stopBroker(); err != nil {
			return err
		}
		if err := r.startBroker(st.ctx); err != nil {
			return err
		}
		if err := st.warm(r); err != nil {
			return err
		}
		if err := dropCaches(); err != nil {
			return err
		}
		if err := st.load(r, w); err != nil {
			return err
		}
	}
	return nil
}
