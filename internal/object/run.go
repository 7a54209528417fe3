package object

// CounterRange is the counters First up to First+Count-1 of a run's blobs.
type CounterRange struct {
	First, Count uint32
}

// Contains says whether the counter is in the range.
func (r CounterRange) Contains(counter uint32) bool { return counter-r.First < r.Count }

// RunLife is what the leader says of a run.
type RunLife uint8

// The lives of a run. Only bytes of a RunNone older than the horizon may be dropped without a deletion.
const (
	RunNone  RunLife = 0 // no row: never published, or deleted and confirmed
	RunDying RunLife = 1 // queued for deletion
	RunAlive RunLife = 2 // referred to
)

func (l RunLife) String() string {
	switch l {
	case RunDying:
		return "dying"
	case RunAlive:
		return "alive"
	}
	return "none"
}

// RunState is the leader's answer about one run.
type RunState struct {
	Life   RunLife
	Ranges []CounterRange // the blobs that belong to it; others were given up by their writer
}

// Blob is the life of the run's blob with that counter: that of the run, or none if the blob does not belong to it.
func (s RunState) Blob(counter uint32) RunLife {
	for _, r := range s.Ranges {
		if r.Contains(counter) {
			return s.Life
		}
	}
	return RunNone
}
