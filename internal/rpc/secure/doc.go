// Package secure makes connections between nodes trustworthy, for gRPC and Raft alike: mutual TLS with roles in the certificates,
// and below every use of a connection a proof that both ends know the cluster's secret.
//
//	S1 Nothing is accepted from a peer that has not proved the secret, with TLS or without. The proof is bound to this one
//	   connection by nonces of both ends and, with TLS, by its exported keying material (RFC 9266's idea): recorded proofs are
//	   worthless, and with TLS relayed ones too. No clock takes part.
//	S2 The secret itself is never sent, logged or kept; what is kept is a key derived from it.
//	S3 With TLS a peer's roles and name come from its certificate alone. Without TLS, which off loopback needs an explicit
//	   setting, they are what the peer claims, and the secret is all that protects the cluster.
//	S4 A server of another incarnation than the one meant refuses the connection.
//	S5 Who has not proved the secret holds a bounded number of connections, each for a bounded time (Door).
//
// The handshake, after TLS if there is any (all numbers little-endian):
//
//	client                                              server
//	"mkvhello" u8 version, u8 protocol, u8 roles,
//	u8 len(node), u8 len(target), zero 3, nonce 32,
//	node, target                            -------->
//	                                        <--------   "mkvhello" u8 version, u8 verdict, zero 6, nonce 32, proof 32
//	proof 32                                -------->   (not gRPC, which sends a proof with every call)
//	                                        <--------   u8 verdict
//
//	master  = HKDF-SHA256(secret, "minikv", "cluster secret v1")
//	session = HMAC(master, SHA256(client's hello, server's nonce), exported keying material of TLS or nothing)
//	proofs  = HMAC(session, "server", verdict), HMAC(session, "client"), HMAC(session, "call", method)
package secure
