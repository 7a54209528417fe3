// Package rpc carries the calls between gateways, coordinators and volumes over gRPC, and large blobs over connections of their own. It knows the nouns and the wire, nothing of
// what a coordinator or a volume does: servers get small interfaces, clients have the same methods.
//
//	R1 No handler runs, and no message is read, before the caller has proved the cluster's secret on this connection and has a
//	   role that the table in methods.go allows for the method. A method without a row is refused.
//	R2 Every call has a deadline, its own or the table's.
//	R3 Kinds of errors arrive as they left. A status that no handler made is told apart: what surely did not run is
//	   errs.NotProposed for proposals and errs.Unavailable for the rest, what may have run is errs.IndeterminateResult for proposals.
//	R4 A call is repeated only if the table says that doing it twice is doing it once, and only once.
//	R5 Blob bytes carry a CRC32C from the memory they are read from to the memory they are written to.
//	R6 What a caller lends is not touched after the call returns; what a handler lends is not kept after the handler returns.
package rpc
