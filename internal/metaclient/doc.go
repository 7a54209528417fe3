// Package metaclient is the coordinator as gateways use it: a session with sequences, retries that take effect at most once,
// and a cached layout.
//
// Invariants:
//
//	S1  A command keeps its sequence through all its attempts, so that it takes effect at most once; its sequence counts as
//	    outstanding until its outcome is known or the session has ended. The caller's context ends only the caller's waiting.
//	S2  A command is proposed anew, under another session, only when no attempt of it can ever have entered a log.
//	S3  errs.NotProposed is answered only of such commands, errs.IndeterminateResult of all others whose outcome stays unknown.
//	S4  At most outstandingMax commands are on their way; further ones wait.
package metaclient
