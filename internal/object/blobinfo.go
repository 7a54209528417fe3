package object

// BlobInfo is what a volume knows of a blob.
type BlobInfo struct {
	ID     BlobID
	Length int64 // bytes
	State  BlobState
	Epochs Epochs
}
