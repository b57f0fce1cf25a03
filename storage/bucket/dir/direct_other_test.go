//go:build !linux

package dir

import "testing"

// dropPages does nothing on platforms where no read bypasses the page cache.
func dropPages(*testing.T, string) {}
