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
// One goroutine schedules all names with a heap of due times; a resolution runs in a short-lived goroutine of its own, at
// most 256 at once.
//
// # Invariants
//
//	one question at a time per (resolver, name, type)
//	Notify is called serially per subscription, with no lock of the watcher held, and never after Close has returned
//	no record is delivered that a verified reply did not carry for the name asked, or for the end of its CNAME chain
//	a truncated or half-resolved set is never delivered: it is fetched whole, or the answer is a failure
//	names under localhost and address literals never go to the wire
//
// # What it does not do
//
// It keeps no cache for others, validates no DNSSEC, and gives no order to addresses.
package dnswatch
