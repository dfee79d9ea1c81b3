// Package migrate says in ebb's words what a config of another balancer says, as far as that is about connections and
// datagrams:
//
//	result := migrate.HAProxy([]migrate.Input{{Name: "haproxy.cfg", Text: text}}, os.LookupEnv)
//	for _, f := range result.Refused {
//		fmt.Println(f) // haproxy.cfg:12: use_backend: ...
//	}
//
// Reading has three steps: a text becomes words with their places; words become a draft, that is tables of ebb's config of
// which each key knows its place in the text; the draft is shown to lb/config, and what that would not accept leaves it.
//
// Invariants:
//
//  1. What a Result has as TOML is accepted by lb/config as it stands, unless it is empty.
//  2. A word of the text is carried over, or refused, or noted, or known to mean nothing to ebb. There is no fifth way: a word
//     that nobody knows is refused.
//  3. What is left out never opens a door: a listener of which an access rule, a header or TLS cannot be kept is left out with it.
//  4. Input never panics, and costs at most time and memory in proportion to its size.
//
// It reads no names of hosts and asks nobody; it opens files only where a text includes them.
package migrate
