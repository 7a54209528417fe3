package payload

// Store turns bodies into blobs and blobs into bodies. Safe for concurrent use.
type Store struct{}

// NewStore makes a Store. Close it.
func NewStore(p Placement, opt Options) *Store { return &Store{} }

// Close sends the hints that wait and ends the goroutines.
func (s *Store) Close() {}
