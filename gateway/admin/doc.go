// Package admin is operating a store over HTTP: the operations of internal/ops below /admin/v1/ of the REST port. It knows none of them
// one by one. Whoever serves it has authenticated root.
//
//	H1 Requests and answers are bounded, and so is how many operations run at once.
//	H2 An answer is complete or seen not to be: one JSON value, lines of which the last has "result" or "error", or bytes
//	   that carry their own end over a connection that breaks.
package admin
