// Package consensus runs hashicorp/raft under the metadata: its log, its snapshots, grouped proposals and linearizable reads.
//
// Invariants:
//
//	C1  An entry is acknowledged only when a majority has synced it; every stored entry carries a CRC32C that is checked
//	    whenever it is read. A mismatch halts.
//	C2  The state machine never runs ahead of its own log and never applies an entry twice: each batch records the applied
//	    index, entries at or below it are skipped.
//	C3  Entries leave the log only when a snapshot at or above them is durable and the live state machine was flushed past them.
//	C4  The live state machine is never behind the newest snapshot when Raft starts, else Raft does not start.
//	C5  "Not proposed" is said only of commands that surely never enter a log; all other failures are indeterminate.
//	C6  A read sees every command acknowledged before it began: the leader was in its term before the confirmation, has applied
//	    all earlier terms (one barrier per term), and a majority confirmed the term after the read arrived.
//	C7  Every queue is bounded, every goroutine ends with Close.
//
// Any failure of the log's storage is given to Options.Fatal, which in a server ends the process.
package consensus
