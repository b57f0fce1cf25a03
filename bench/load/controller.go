package load

import "time"

// controller looks for the highest rate with which producers and consumers keep up. Rule and
// constants are those of OpenMessaging Benchmark: the rate grows by a factor that doubles while all
// is well and halves when it is not. When something falls behind, the next rate is what was managed
// minus what waits. So the rate swings around the limit and does not settle. The number of interest
// is best.
type controller struct {
	factor              float64
	best                float64 // the highest rate with which everything kept up
	published, received int64   // totals of the last call
}

const (
	controlRate     = 10_000.0 // records/s at the start
	controlEvery    = 3 * time.Second
	controlBacklog  = 1000 // records that may wait to be published or received
	controlMin      = 0.01
	controlMax      = 1.0
	controlRampStep = 2
)

func newController() *controller { return &controller{factor: controlMax} }

// next returns the rate to use after a period at the given rate. published and received are totals
// per subscription.
func (c *controller) next(rate float64, period time.Duration, published, received int64) float64 {
	managed, read := published-c.published, received-c.received
	c.published, c.received = published, received
	asked := int64(rate * period.Seconds())
	if waiting := published - received; waiting > controlBacklog {
		return c.slower(read, waiting, period)
	}
	if waiting := asked - managed; waiting > controlBacklog {
		return c.slower(managed, waiting, period)
	}
	c.best = max(c.best, rate)
	c.factor = min(controlMax, c.factor*controlRampStep)
	return rate * (1 + c.factor)
}

func (c *controller) slower(managed, waiting int64, period time.Duration) float64 {
	c.factor = max(controlMin, c.factor/controlRampStep)
	return float64(max(0, managed-waiting)) / period.Seconds()
}
