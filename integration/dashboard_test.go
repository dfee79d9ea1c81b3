//go:build linux

package integration

import (
	"strings"
	"testing"
)

// hostile stands in for an ebb whose DNS is in the hands of somebody who wants to run code in the operator's browser.
const hostile = `
const real = window.fetch
window.fetch = async (path, options) => {
  const reply = await real(path, options)
  if (path !== '/v1/status') return reply
  const s = await reply.json(), evil = '<img src=x onerror="window.owned=1"><script>window.owned=1<' + '/script>'
  s.version = evil
  s.dns.push({ name: evil, type: evil, kind: evil, resolver: evil, records: [evil], error: evil, age: 1, ttl: 1, next: 1, stale: true, failures: 1 })
  s.pools.push({ ...s.pools[0], name: evil, peers: [{ ...s.pools[0].peers[0], addr: evil, state: evil, why: evil, role: evil, sources: [evil] }] })
  return new Response(JSON.stringify(s))
}`

// The page, as an operator uses it: with eyes, and with nothing but a keyboard.
func TestDashboard(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	port := freePort(t)
	echo(t, at(2, port))
	echo(t, at(3, port))
	s := setup{hosts: []string{host(2), host(3), host(4)}, port: port, check: `kind = "tcp"`} // nobody is at the last
	e := start(t, s)
	eventually(t, "the peers to be checked", func() bool { // each first result is an epoch of its own
		p := e.poolStatus(t).Peers
		return len(p) == 3 && p[0].Health == "up" && p[1].Health == "up" && p[2].Health == "down"
	})
	for range 4 {
		dial(t, e.addr).echoes(t, []byte("ping"))
	}
	b.size(t, 1200, 900, "light")
	b.open(t, "http://"+e.admin+"/")
	peer := at(2, port).String()
	row := `[...document.querySelectorAll("#pools tr")].find((r) => r.firstChild.textContent === "` + peer + `")`
	b.await(t, "the peer, which is up", row+`?.querySelector(".badge").textContent === "up"`)
	b.await(t, "why a peer is down", `document.querySelector("#pools").textContent.includes("refused: ")`)
	b.await(t, "an epoch with its sessions", `document.querySelector(".epochs").textContent.includes("4 sessions")`)
	b.await(t, "how long a check took", row+`.textContent.includes("ms")`)
	b.await(t, "an event", `document.querySelector("#log").textContent.includes("ready")`)
	b.await(t, "a plot", `document.querySelector("#traffic polyline").getAttribute("points").split(" ").length > 1`)
	if e.poolStatus(t).Epochs[0].Sessions != 4 {
		t.Error("the page has another number of sessions than the API")
	}

	b.eval(t, row+`.querySelector("button[title^=drain]").focus()`)
	b.press(t, "Enter")
	b.await(t, "a question", `document.querySelector("#ask").open && document.querySelector("#question").textContent.includes("`+peer+`")`)
	b.eval(t, `document.querySelector("#no").focus()`)
	b.press(t, "Tab", "Enter")
	b.await(t, "the peer in drain", row+`.querySelector(".badge").textContent === "drain"`)
	b.await(t, "the dialog closed", `!document.querySelector("#ask").open`)
	eventually(t, "drain in the API", func() bool { p, ok := e.poolStatus(t).peer(peer); return ok && p.State == "drain" })
	b.await(t, "the epoch before, which sessions hold", `document.querySelectorAll(".epochs li").length === 2`)

	b.press(t, "/")
	b.press(t, strings.Split(at(3, port).String(), "")...)
	b.await(t, "only what is searched for", `!(`+row+`) && document.querySelectorAll("#pools tbody tr").length === 1`)

	b.size(t, 360, 800, "dark")
	b.await(t, "no scrolling sideways", `document.documentElement.scrollWidth <= 360`)
	b.await(t, "a dark page", `getComputedStyle(document.body).backgroundColor === "rgb(20, 23, 26)"`)
	if said := b.complaints(); said != "" {
		t.Errorf("the page complains: %s", said)
	}

	b.call(t, "Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": hostile}, nil)
	b.open(t, "http://"+e.admin+"/?again")
	b.await(t, "hostile text as text", `["version", "pools", "names"].every((id) => document.getElementById(id).textContent.includes("<img src=x"))`)
	if found := b.eval(t, `document.querySelectorAll("img, body script").length + " " + window.owned`); found != "0 undefined" {
		t.Errorf("text became elements: %s", found)
	}
	if said := b.complaints(); said != "" {
		t.Errorf("the page complains: %s", said)
	}
	b.eval(t, `void (document.createElement("img").src = "http://127.0.0.1:1/spy.png")`)
	eventually(t, "the policy refuses what is elsewhere", func() bool { return strings.Contains(b.complaints(), "Content Security Policy") })
}
