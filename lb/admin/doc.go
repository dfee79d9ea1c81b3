// Package admin is the window of a running balancer: an HTTP API, metrics for Prometheus, and a client.
//
//	s, err := admin.NewServer(admin.Settings{Listen: "127.0.0.1:9321"}, source, metrics, events, log)
//	go s.Serve()
//	defer s.Shutdown(ctx)
//
// The model: a [Source] describes itself in one document, [Status]; every path is that document, a part of it, or a
// sample of it. Nothing is kept between requests, so what is gone from the source is gone from the answers.
//
// Invariants:
//
//	A1  Nothing but a POST or a DELETE has an effect, and no web page can make one: a body must be JSON, which forms cannot
//	    send, and the request must come from no other origin.
//	A2  The server answers only to addresses, localhost and the names it is told, so that no web page reaches it by a name of
//	    its own (DNS rebinding).
//	A3  Connections, headers, times and scrapes are bounded: a client of this API never costs the data path more than that.
//	A4  A scrape never gives two values to one series.
//	A5  What other hosts reach answers only who has a token, but for two words: that it lives, and that it is ready.
//	A6  The page at / makes no elements of text and runs no code but its own, whatever names and peers say.
//
// Durations are numbers of seconds and times are RFC 3339, in the document and in the metrics' names.
//
// It does not know pools, names or configuration; it is told values.
package admin
