// Package payload turns bodies into blobs and back: it cuts and hashes what comes in, prepares the blobs on a write quorum, and
// reads ranges from any good replica.
//
//	P1 A blob counts as written when rf/2+1 distinct volumes confirmed it, durably under the policy "always"; a volume that
//	   lagged, erred or answered late is simply not listed.
//	P2 A run's base is new for every Write. A counter is never used for two different contents.
//	P3 Abort reaches a volume only for blobs that no proposal carries; the caller vouches for it by calling Write.Abort.
//	P4 A Reader gives exactly the bytes asked for, each verified by the volume, or an error; never less without one.
//	P5 Body memory stays within the Budget: uploads hold what their clients sent, rounded up to a chunk, and at most
//	   blobsInFlight+1 blobs each; readers have a budget of their own, half as large, and at most two buffers of 1 MiB each.
//	P6 Nobody waits for memory because of others' crowds: the last quarter (for readers the last eighth) is for accounts that hold no
//	   more than an equal part, accounts that wait are served in turn, bodies of at most 64 KiB have a sixteenth more to themselves
//	   in each direction, and while somebody waits, uploads and reads whose clients stand still (fewer than 64 KiB in 5 s) are ended.
//
// Why uploads cannot deadlock on the budget. A body takes memory chunk by chunk while a blob fills and gives a blob's chunks
// back when the last prepare of the blob has returned; preparing takes no memory and every prepare ends (VolumeTimeout). So
// memory can only be stuck in blobs that are being filled. A part of the budget as large as a blob, the reserve, is kept for one
// filler at a time: whoever is first in the queue when the rest is used up owns the reserve until its blob is done. The owner
// needs at most a blob and has it, so it never waits for memory again before that blob is prepared; it waits for its client only,
// whose idle time the HTTP server bounds. Hence while anyone waits, one filler is running, and its end feeds the next in the
// queue, which is first in, first out for each account and in turn between accounts; the reserve takes no account's share into
// account. And whoever waits longer than BudgetWait gets errs.SlowDown: the bound for a crowd of clients that dribble. Readers take
// their first buffer while they hold nothing, and a second only if it is free.
package payload
