package coordinator

import (
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/storage"
)

// These errors say why a group cannot be asked here and now. Clients retry after all of them; after
// the last two they look for the coordinator again. The numbers are Kafka's error codes.
var (
	ErrLoading        = errors.New("the group's state is still being loaded")   // 14
	ErrNotAvailable   = errors.New("the group's log takes no writes now")       // 15
	ErrNotCoordinator = errors.New("this broker does not coordinate the group") // 16
)

// writeError turns the error of a failed append into what a waiting member may be told, as Kafka
// does. It distinguishes a write that was refused for now from one that this broker will never do.
func writeError(err error) error {
	switch {
	case errors.Is(err, storage.ErrThrottled), errors.Is(err, storage.ErrStuck), errors.Is(err, storage.ErrNotReady), errors.Is(err, storage.ErrUnknownPartition):
		return fmt.Errorf("%w: %w", ErrNotAvailable, err)
	case errors.Is(err, storage.ErrNotLeader), errors.Is(err, storage.ErrClosed), errors.Is(err, storage.ErrWALFailed),
		errors.Is(err, storage.ErrLeadershipLost):
		return fmt.Errorf("%w: %w", ErrNotCoordinator, err)
	}
	return err
}
