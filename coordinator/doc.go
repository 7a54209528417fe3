// Package coordinator is the keeper of the metadata: it opens the Raft group's member in a folder, founds the cluster on an
// empty one, takes commands and queries, and runs the leader's duties.
//
// Invariants:
//
//	L1  A command that is not a deletion, an abort or internal is refused before it is proposed while space is short (I11);
//	    Apply never asks for space.
//	L2  What a volume may drop is decided on a linearizable answer that stands at or after the horizon entry it names.
//	L3  Every goroutine ends with Close.
package coordinator
