// Package dnswatch keeps asking for names and tells its subscribers what the answers are.
//
//	w, err := dnswatch.New(dnswatch.Options{Resolvers: []dnswatch.ResolverConfig{{Name: "default", Servers: []string{"system"}}}})
//	defer w.Close()
//	s, err := w.Subscribe(dnswatch.Watch{Resolver: "default", Name: "db.example.com", Type: dnswatch.TypeA, Notify: apply})
//	defer s.Close()
//
// # Model
//
// A [Watcher] holds one entry per (resolver, name, type), shared by all its subscriptions and asked at the shortest of
// their intervals. A resolution ends in one [Answer]: ok with records, nodata, nxdomain, or failure. Every answer goes to
// every subscription, also when nothing changed. The watcher delivers facts: whether an empty answer empties a pool, or
// how long old addresses may serve, is decided by who subscribes.
//
// One goroutine schedules all names, with a heap of due times for each resolver; a resolution runs in a short-lived
// goroutine of its own, at most 256 at once for a resolver. [Watcher.Resolve] runs a single one and shows its steps.
//
// A resolver asks its servers by UDP, with a socket, a port and an id for each question, or by TCP, TLS or HTTPS over one
// kept connection for each server. UDP that is truncated, or in doubt, is settled by TCP.
//
// SRV records name targets. Whoever watches a service subscribes to the addresses of each target: so a target that fails
// takes nothing from the others, and each is asked for at its own TTL.
//
// # Invariants
//
//  1. one question at a time per (resolver, name, type), races of one resolver's servers aside
//  2. at most 16 questions to servers and 8 CNAMEs in one resolution
//  3. Notify is called serially per subscription, with no lock of the watcher held, and never after Close has returned
//  4. no record is delivered that a verified reply did not carry for the name asked, or for the end of its CNAME chain
//  5. a truncated or half-resolved set is never delivered: it is fetched whole, or the answer is a failure
//  6. names under localhost and address literals never go to the wire, nor does a name that an SRV record or a CNAME put there
//  7. a server with a certificate is asked nothing before the certificate is verified for its name
//  8. two resolvers share no answer, no connection, and no place in a queue
//
// # What it does not do
//
// It keeps no cache for others, validates no DNSSEC, looks up no name of a server, and gives no order to addresses.
package dnswatch
