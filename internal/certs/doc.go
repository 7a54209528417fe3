// Package certs makes and reads the certificates of a cluster's nodes: a private CA, and for each node a certificate whose names
// say who it is and what it may act as.
//
//	C1 A role is granted only by a URI name minikv://role/<gateway|coordinator|volume>/<node> in a certificate that the cluster's
//	   CA signed. A malformed name, an unknown role or a second node name voids the whole certificate.
//	C2 Keys are ECDSA P-256, files are readable by their owner only, and no file is ever overwritten.
package certs
