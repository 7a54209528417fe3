// Package raftnet carries Raft between coordinators, on a port of its own, over connections that package secure vouches for.
//
//	N1 Only coordinators that proved the cluster's secret are listened to, with TLS also by their certificates.
//	N2 Every connection names the incarnation it is meant for, and a coordinator of another one refuses it: a wiped coordinator
//	   at the old address neither votes nor acknowledges for what it was.
//	N3 Heartbeats go through Raft's main loop; pre-vote stays.
//	N4 Close ends every connection, dialed or accepted, and waits for the goroutines here.
//	N5 A request that stops in the middle ends its connection: Raft's main loop reads snapshots from there.
package raftnet
