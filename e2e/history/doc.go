// Package history records what clients of an S3-like store saw and decides, with porcupine, whether one atomic store could have
// answered so: Wing and Gong's linearizability, with Lowe's improvements (http://www.cs.ox.ac.uk/people/gavin.lowe/LinearizabiltyTesting/).
//
// The model is a small bucket: a fixed set of keys, each absent or holding a value. Values are numbers, each written by at most one
// put, so that a value read names the put it came from; the store's bytes and ETags are derived from the number and are checked
// on the way in.
//
//	H1  The verdict Unknown (time ran out) is a failure, like Illegal.
//	H2  A write without an answer, or with a 5xx, happened once at any later moment, or never (I3 of the design). It is never
//	    left out of the history.
//	H3  A read without an answer says nothing and is left out; so is a refusal that says that nothing was done.
//	H4  A page of a listing, and a batch, is one moment. So operations are checked together as far as a batch, copy or listing
//	    connects their keys, and apart otherwise.
//	H5  A history in which nothing was acknowledged proves nothing; Stats tells.
//
// How H2 is kept cheap. A write whose value somebody saw happened before that observer returned, so it is an ordinary operation
// that ends there. Of the others, one on a single key (a put nobody saw, a delete) is tried only right before an operation that
// would have gone otherwise without it, or after the end of the history, where nothing can tell it from never. This loses no
// linearization: run the linearization with and without the write; up to the first operation that goes otherwise, the write can be
// moved later, and if there is none, to the end. A write to several keys may be overwritten in part before it is seen, so it is
// tried everywhere. The tests compare this with a checker that tries everything.
package history
