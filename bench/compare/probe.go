package compare

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluicemq/sluice/bench/limits"
)

// probeBytes is how much is written to MinIO and read back.
const probeBytes = 512 << 20

// probe measures the disk and, if it is installed, MinIO on that disk.
func probe(st *stage) error {
	figures, err := limits.Fdatasync(st.dir)
	if err != nil {
		return err
	}
	st.figures = append(st.figures, figures)
	if st.o.Tools.MinIO == "" {
		return nil
	}
	minio, err := probeMinIO(st, probeBytes)
	if err != nil {
		return fmt.Errorf("PUT and GET of MinIO: %w", err)
	}
	maps.Copy(figures, minio)
	return nil
}

func probeMinIO(st *stage, bytes int64) (map[string]float64, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	for _, variable := range bucketEnv { // the client runs in this process
		name, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	r := &running{system: systemNamed("sluice-minio")}
	if err := r.startBucket(st.ctx, &st.o.Tools, filepath.Join(st.dir, "bucket"), addrs[0]); err != nil {
		return nil, err
	}
	defer r.kill()
	return limits.Get(st.ctx, bucketURL(addrs[0]), bytes)
}
