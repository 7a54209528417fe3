// Package kv is the ordered store behind the metadata state machine: Pebble without a write-ahead log of its own.
//
// Invariants:
//
//	K1  A batch is visible and durable as a whole or not at all, its applied index included.
//	K2  What is on disk after a crash is the state after some batch: the newest one that a flush covered, never a later one
//	    without an earlier one. The Raft log replays what is missing, from Applied on.
//	K3  A checkpoint holds at least every batch committed before Checkpoint was called, and is itself such a state.
//	K4  Keys that begin with LocalByte belong to this replica alone; they are no part of the replicated state.
//
// Why K1 and K2 hold without a log: Pebble puts a batch into exactly one memtable (a batch too large for one becomes a flushable
// of its own), flushes memtables strictly in the order of their commits, and makes a flush visible by one MANIFEST edit after
// its tables are synced.
package kv
