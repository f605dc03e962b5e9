package memory

// A goroutine begins with a stack as large as those that the collector found were used on average, and each time that it
// grows it is copied frame by frame. Goroutines that work short jobs need some 6 KB, but are gone by the time the
// collector looks; it finds those that wait for sockets with hardly anything on theirs. So each short job paid for two
// copies, an eighth of what Go spends on it. These wait with a stack as large as a job's.
const (
	sampleCount = 128
	sampleDepth = 6 << 10
)

// sampleStacks shows the collector stacks like those of jobs until done is closed: goroutines begin with 8 KB from the
// next collection on. They cost a megabyte.
func sampleStacks(done <-chan struct{}) {
	for range sampleCount {
		go hold(done)
	}
}

//go:noinline
func hold(done <-chan struct{}) (used byte) {
	var depth [sampleDepth]byte
	for i := range depth {
		depth[i] = byte(i)
	}
	<-done
	return depth[len(done)]
}
