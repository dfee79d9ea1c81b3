// Package dnstest is a DNS server that says what it is told to say: truths from a small zone, or a script with delays, lies
// and garbage. Tests and the demo use it.
//
//	s, err := dnstest.Start("")
//	defer s.Close()
//	s.SetA("db.test", 1, "127.0.0.2", "127.0.0.3")
//	// ask udp://s.Addr()
//
// It listens on UDP and TCP at one port, and on request for DNS over TLS and over HTTPS with certificates of a CA of its
// own. Names that it does not know do not exist (NXDOMAIN with a SOA).
package dnstest
