// Package rebalance moves shards between volumes: a pure planner says which replica should move where, and the leader's mover carries
// it out, from joining to releasing (DESIGN: a move is in the shard's row, so that a new leader goes on with it).
//
// Invariants:
//
//	B1  A move ends (flips) only when each joining volume has every blob of the shard that is alive or undecided and was prepared
//	    before the move began, each read there and found good, or copied, since; what is decided since is checked by Apply (missing rows).
//	B2  What is to be copied is the union of what at least N-W+1 of the N members list, each after it acknowledged the move's epoch: any W
//	    that confirmed a blob meet them. N is how many members the shard has, and W its majority, whatever its pool is to have.
//	    When some do not answer, one of those that do lacks nothing, as far as missing rows tell.
//	B3  A shard replaces one replica at a time, so that most of those who confirmed a write before it stay. A shard that has fewer than its
//	    pool is to have gets all that lack at once: all who confirmed stay.
//	B4  A list that could not be read to its end, a copy that failed, or a volume that did not acknowledge leaves the move unfinished.
//	B5  Progress is soft state: lost with the leader.
//	B6  Lists are merged page by page, and a move that failed goes on after the last batch that was done, unless the shard's row has
//	    changed or a joining volume has started since: memory and repeated work are bounded whatever the shard holds.
//	B7  A shard gives up replicas without others in their place only to volumes that are in and up, have acknowledged the epoch, and have
//	    what B1 asks of joining ones; and only while its pool is to have fewer.
package rebalance
