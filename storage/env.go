package storage

import (
	"context"
	"log/slog"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// env is what all owners of the engine work with. It is set before their work begins, and does not
// change afterwards.
type env struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	meter    *meter
	openedAt time.Time
	// incarnation is the one under which this engine writes, known since the quorum gave it.
	incarnation ident.Incarnation
	ctx         context.Context // for background work; Close ends it, a request does not
}
