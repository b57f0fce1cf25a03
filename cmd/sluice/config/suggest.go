package config

import "strings"

// suggest returns the known name that is most similar to an unknown one, or "".
func suggest(name string) string {
	best, bestDistance := "", 1+max(2, len(name)/4)
	for known := range keyed {
		// Leaving out the prefix is the usual mistake.
		d := min(distance(name, known), distance(name, strings.TrimPrefix(known, "sluice.")))
		if d < bestDistance || d == bestDistance && best != "" && known < best {
			best, bestDistance = known, d
		}
	}
	return best
}

// distance counts how many letters must be inserted, deleted, replaced or swapped with a neighbour
// to turn one word into the other.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
