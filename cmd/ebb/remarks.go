package main

import (
	"fmt"

	"github.com/ebb-lb/ebb/lb/admin"
)

// mostRemarks is how many lines of them are shown.
const mostRemarks = 10

// remarks says in words what stands somewhere in the tables of a status and explains what clients notice, or will: clients
// that wait, a log that loses lines, and names whose last answer is not what is in force. What is not ready has reasons of its own.
func remarks(s *admin.Status) (list []string) {
	for _, p := range s.Pools {
		switch {
		case p.Held:
			list = append(list, fmt.Sprintf("pool %s is held by an operator, %s waiting: ebb release %s", p.Name, count(int(p.Waiting), "client"), p.Name))
		case p.Waiting > 0:
			list = append(list, fmt.Sprintf("pool %s: %s waiting for a peer", p.Name, count(int(p.Waiting), "client")))
		}
	}
	if s.LogDropped > 0 {
		list = append(list, fmt.Sprintf("log: %s lost since the start: its target does not take them, or not in time", count(int(s.LogDropped), "line")))
	}
	nothing := barren(s.DNS)
	for _, n := range s.DNS {
		text := ""
		switch peers := len(n.Peers); {
		case n.Kind == "failure" && n.Failures == 0: // nobody has answered yet
		case n.Kind == "failure" && peers > 0:
			text = fmt.Sprintf("%s, what an answer said %s ago stays: %s", count(n.Failures, "failure"), age(seconds(n.Age)), count(peers, "peer"))
		case n.Kind == "failure":
			text = count(n.Failures, "failure")
		case (n.Kind == "nodata" || n.Kind == "nxdomain") && peers > 0:
			text = fmt.Sprintf("the answer is %s, what was before stays as on_empty says: %s", n.Kind, count(peers, "peer"))
		case nothing[watchedName{n.Resolver, n.Name}] != n.Type: // another type's answer has something, or says so
		case n.Kind == "nxdomain":
			text = "there is no such name"
		case n.Type == "SRV":
			text = "it names no server"
		default:
			text = "it has no address"
		}
		if text != "" && n.Error != "" {
			text += " (" + n.Error + ")"
		}
		if text != "" {
			list = append(list, fmt.Sprintf("name %s %s: %s", n.Name, n.Type, text))
		}
	}
	if more := len(list) - mostRemarks; more > 0 {
		list = append(list[:mostRemarks], fmt.Sprintf("and %d more such lines", more))
	}
	for i := range list {
		list[i] = printable(list[i])
	}
	return list
}

// watchedName is a name as one resolver knows it.
type watchedName struct{ resolver, name string }

// barren gives the names of which no answer has anything, each with the first of its types.
func barren(all []admin.Name) map[watchedName]string {
	first, fertile := make(map[watchedName]string), make(map[watchedName]bool)
	for _, n := range all {
		k := watchedName{n.Resolver, n.Name}
		if n.Kind != "nodata" && n.Kind != "nxdomain" {
			fertile[k] = true
		} else if least, ok := first[k]; !ok || n.Type < least {
			first[k] = n.Type
		}
	}
	for k := range fertile {
		delete(first, k)
	}
	return first
}
