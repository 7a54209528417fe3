// Package txn is what the leader does on its own accord: it ticks the epoch, collects the bytes of dead runs and forgets old
// results. Each duty is a step that reads, decides and proposes; a loop with an injected clock calls it.
//
// Invariants:
//
//	T1  Time decides only when something is done, never whether it is right: a step run early, late, twice or by two leaders
//	    harms nothing (a tick names the epoch it saw; queue rows are immutable and leave once).
//	T2  A run leaves the deletion queue only after every member, joining and leaving replica of every blob's shard confirmed
//	    that the blob is gone.
//	T3  Every step is bounded; what remains is the next step's, which goes on there: what waits keeps nothing from its turn.
package txn
