package pilot

// watermarks are where the fetch of one queue starts, by priority.
type watermarks struct{}

func newWatermarks() *watermarks { return &watermarks{} }
