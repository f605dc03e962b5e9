package bench

import (
	"math"
	"slices"
	"time"
)

// median returns the middle of the values, or the mean of the two in the middle. Of none it is NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spread returns the distance between the least and the greatest value, in percent of the median.
func spread(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return 100 * (slices.Max(values) - slices.Min(values)) / median(values)
}

// percentile returns the smallest of the sorted durations that at least p percent of them do not exceed.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// slope returns how much the series changes in a minute, in percent of its mean: the straight line of least squares.
func slope(points []Point) float64 {
	if len(points) < 2 {
		return 0
	}
	var meanT, meanY float64
	for _, p := range points {
		meanT += p.Seconds
		meanY += p.JobsPerSecond
	}
	n := float64(len(points))
	meanT, meanY = meanT/n, meanY/n
	var above, below float64
	for _, p := range points {
		above += (p.Seconds - meanT) * (p.JobsPerSecond - meanY)
		below += (p.Seconds - meanT) * (p.Seconds - meanT)
	}
	if below == 0 || meanY == 0 {
		return 0
	}
	return 100 * 60 * above / below / meanY
}

// pairedRatio is the median of the rounds' own ratios.
func pairedRatio(ours, theirs []float64) float64 {
	ratios := make([]float64, 0, len(ours))
	for i := range min(len(ours), len(theirs)) {
		if theirs[i] != 0 {
			ratios = append(ratios, ours[i]/theirs[i])
		}
	}
	return median(ratios)
}
