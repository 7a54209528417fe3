// Package ops is the vocabulary of operating a store: which operations there are, what each takes and gives, and where it runs.
// The command line, the gateway's HTTP, the RPC to the leader and the node that does the work all speak it; none of them knows
// the operations one by one.
//
// A new operation is three small files:
//
//	internal/ops/TOPIC.go          var X = declare[XRequest, XAnswer](Spec{Name: "topic/x", ...}) and the two types, in JSON
//	cmd/minikv/node/ops_TOPIC.go   X.Handle(func(ctx, *XRequest, Progress) (*XAnswer, error)), listed in ops.go beside it
//	cmd/minikv/command/TOPIC.go    the command: callOp(ctx, client, ops.X, &request, progress)
//
// On the wire it is POST /admin/v1/topic/x with the request as JSON (GET as well, when it is an Ask without a request). An Ask or a Do
// answers one JSON value; a Job answers lines of JSON, {"event": ...} as it goes and at last {"result": ...} or {"error": ...}; Bytes
// answers the bytes themselves, which carry their own end. Only root may call.
//
//	A1 An operation with Place Leader runs only on the coordinator that leads, wherever it was asked; one that loses the lead meanwhile
//	   fails. What surely did not begin is asked again at the new leader; an Ask that gave nothing yet, too; nothing else is.
//	A2 Requests, events and answers are bounded; unknown fields of a request are errors.
//	A3 Every operation has a deadline.
package ops
