package compare

import "slices"

// Spread is what the rounds of one figure gave.
type Spread struct {
	Min, Median, Max float64
	Count            int // number of rounds; 0 if there is none
}

// spread returns the zero Spread for no values.
func spread(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	return Spread{Min: v[0], Median: (v[(n-1)/2] + v[n/2]) / 2, Max: v[n-1], Count: n}
}
