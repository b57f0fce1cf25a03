package storage

// PackedSizes packs sections of the given sizes and returns the section sizes of each bundle.
func PackedSizes(sizes []int64, bundleBytes int64) (bundles [][]int64) {
	sections := make([]*section, len(sizes))
	for i, size := range sizes {
		sections[i] = &section{facts: &topicFacts{}, bytes: size}
	}
	for _, b := range pack(sections, bundleBytes) {
		var packed []int64
		for _, s := range b.sections {
			packed = append(packed, s.bytes)
		}
		bundles = append(bundles, packed)
	}
	return bundles
}

// SectionsPerBundleMax is the largest number of sections in a bundle.
const SectionsPerBundleMax = sectionsPerBundleMax
