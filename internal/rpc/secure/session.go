package secure

import (
	"crypto/hmac"

	"minikv/internal/certs"
)

// Session is an established connection's other end.
type Session struct {
	Peer certs.Identity
	TLS  bool
	// Proved says that the peer has proved the secret. On the server's end of gRPC it has not yet: each call does.
	Proved bool
	// Protocol is what a server's client speaks.
	Protocol Protocol
	proofs   proofs
}

// CallProof is what goes with each call of the method, 32 bytes.
func (s *Session) CallProof(method string) []byte {
	p := s.proofs.call(method)
	return p[:]
}

// CheckCall says, in constant time, whether proof is the method's.
func (s *Session) CheckCall(method string, proof []byte) bool {
	want := s.proofs.call(method)
	return hmac.Equal(want[:], proof)
}
