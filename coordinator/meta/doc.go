// Package meta is the metadata state machine of minikv: commands in, rows out. It knows nothing of Raft, clocks, randomness,
// networks or logging: time, ids and random bytes arrive inside the commands, so every replica that applies the same entries
// has the same rows, byte for byte (Hash).
//
// Invariants:
//
//	M1  A refused command leaves no trace but its recorded result.
//	M2  A command of a session takes effect at most once: a retry gets the first answer.
//	M3  A run's references never rise from 0; the entry that brings them to 0 also queues the run for deletion.
//	M4  Every object, part and body row points only to runs with references > 0.
//	M5  A run is published only with a write quorum of its shards' replicas confirmed: a majority of the members that the row has, whatever
//	    the pool is to have, and of those that will be members; who did not confirm gets a missing row.
//	M6  Work per command is bounded: what could be long (parts of a dead body, uploads of a dead bucket) goes through the queue.
//	M7  An entry with an unknown level or field stops Apply for good: guessing would make replicas differ.
package meta
