// Package sigv4 implements AWS Signature Version 4 for Amazon S3: verification of the Authorization header and of
// presigned URLs, the aws-chunked body encoding, and a signer for tests and clients.
//
// The package is pure: it imports the standard library and sha256-simd only, opens no sockets, and takes time and keys
// from its caller. Sources: "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API Reference, and the
// pages below it on the Authorization header, query parameters, and chunked uploads with and without trailers.
//
// Invariants, cited by the tests:
//
//	V1 What is verified is what is parsed: path and query come from the wire form through the one parser of this
//	   package, and callers read the same Query that was signed.
//	V2 Fail closed: the zero AuthType is refused, and only a request with no credential field at all is anonymous.
//	V3 host and every x-amz-* header that is present is signed, or the request is refused by name. Exempt are
//	   x-amz-content-sha256, whose value is the payload line, and x-amz-cf-id, which a CDN adds.
//	V4 Signatures are compared in constant time, and an unknown access key costs the same work as a known one.
//	V5 A body reader returns io.EOF only after every signature, hash, length and trailer it can check was right. Any
//	   other error means that nothing of the body may be stored.
//	V6 Memory is bounded: one small buffer per chunked reader whatever the chunk length, a bounded signing-key cache.
//	V7 No secret and no signing key is ever formatted into an error or a string.
package sigv4
