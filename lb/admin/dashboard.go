package admin

import (
	"embed"
	"fmt"
	"net/http"
)

// The page, its script and its style, as they are: nothing builds them, and they ask nobody but this server.
//
//go:embed dashboard
var dashboardFiles embed.FS

// pagePolicy lets the page have its own script and style and ask this server, and nothing else: no text of DNS becomes code
// (text never becomes elements either, which trusted-types has the browser enforce), and no other page frames it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// may is the header that tells the page whether to show what changes something.
const may = "Ebb-May"

// addDashboard serves the page at / and what belongs to it under /dashboard/.
func addDashboard(mux *http.ServeMux, g *gate) {
	for path, file := range map[string]string{
		"/{$}": "dashboard/index.html", "/dashboard/app.js": "dashboard/app.js", "/dashboard/style.css": "dashboard/style.css",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				document(w, http.StatusMethodNotAllowed, problem{Error: fmt.Sprintf("%s is not possible here: %s is read only", r.Method, r.URL.Path)})
				return
			}
			allowed := "read"
			if g.rights(g.access.Load(), r) == mayAll {
				allowed = "all"
			}
			w.Header().Set(may, allowed)
			w.Header().Set("Content-Security-Policy", pagePolicy)
			w.Header().Set("Referrer-Policy", "no-referrer")
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
			http.ServeFileFS(w, r, dashboardFiles, file)
		})
	}
}
