// Command bench runs ebb beside haproxy, nginx and a direct connection, in one run and in alternation, and prints for each
// load the rate, the spread, the ratio to the best other proxy, and the proxy's CPU for a unit of work.
//
//	make bench                                    # 5 rounds of 3 s each; writes docs/bench/
//	go run ./integration/bench -rounds 1 -for 1s  # a quick look
//	go run ./integration/bench -load UDP          # only those over UDP
//	go run ./integration/bench -load beside       # messages while one more session moves all it can, or reads slowly
//	go run ./integration/bench -load idle         # memory and descriptors of idle sessions
//	go run ./integration/bench -flame flame.svg   # where the CPU goes (make flame); needs perf
//	go run ./integration/bench -haproxy PATH -nginx PATH
//	go run ./integration/bench -through nginx,ebb # only these proxies
//
// It needs haproxy, nginx with the stream module, redis-server and redis-benchmark, PostgreSQL with pgbench, and Knot and dnsperf
// (Debian packages). Everything runs on loopback with free ports, in temporary folders, and ends by itself. Absolute figures depend on
// the machine; trust ratios and CPU per unit.
package main
