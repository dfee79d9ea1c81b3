//go:build linux

// Command failover measures what clients of a database see when its primary changes: behind ebb with its default settings,
// and behind HAProxy as Patroni's template sets it up. For each scenario it starts two PostgreSQL servers with streaming
// replication and 50 clients that write through the proxy, then does to the primary what the scenario says.
//
//	make failover                                      # all scenarios, about four minutes; exit code 1 if ebb misses a target
//	go run ./integration/failover -only killed         # one scenario
//	go run ./integration/failover -rounds 3            # each three times; the worst counts
//
// It needs Linux, root, and the Debian packages postgresql, haproxy and nftables. It runs in a network namespace of its own, in
// which packets can be dropped, with everything on loopback addresses, in a temporary folder, and ends by itself.
package main
