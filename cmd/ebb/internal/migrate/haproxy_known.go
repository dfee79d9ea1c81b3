package migrate

// What HAProxy's words are to ebb. A word that is in none of these lists, and that no function reads, is refused as unknown.

// globalQuiet say something about the process, TLS or HTTP, and nothing that a user of ebb would look for.
var globalQuiet = []string{
	"daemon", "user", "group", "uid", "gid", "chroot", "pidfile", "nbproc", "cpu-map", "cpu-policy", "cpu-set", "ulimit-n", "ulimit-c", "master-worker",
	"mworker-max-reloads", "node", "description", "localpeer", "numa-cpu-mapping", "ca-base", "crt-base", "key-base", "issuers-chain-path", "maxsslconn",
	"maxsslrate", "maxcomprate", "maxcompcpuusage", "maxpipes", "maxzlibmem", "spread-checks", "max-spread-checks", "busy-polling", "noepoll", "nokqueue",
	"noevports", "nopoll", "nosplice", "nogetaddrinfo", "noreuseport", "quiet", "zero-warning", "strict-limits", "set-dumpable", "insecure-fork-wanted",
	"insecure-setuid-wanted", "external-check", "log-send-hostname", "unix-bind", "expose-experimental-directives", "fd-hard-limit",
	"close-spread-time", "default-path", "anonkey", "prealloc-fd", "pp2-never-send-local", "presetenv", "limited-quic", "no-quic", "cluster-secret",
	"stats-file", "shm-stats-file", "setcap", "warn-blocked-traffic-after", "harden.reject-privileged-ports.tcp",
}

// globalNotes are done elsewhere.
var globalNotes = map[string]string{
	"stats":             "ebb's admin address (127.0.0.1:9321, [admin] listen) takes its place: ebb status, ebb drain, a page and metrics",
	"log":               "ebb logs each session to stderr; [log] says where else, and how much",
	"log-tag":           "ebb logs each session to stderr; [log] says where else, and how much",
	"server-state-file": "state_file keeps what operators say over restarts",
	"maxconnrate":       "ebb has no limit of this kind for all listeners; source_rate bounds one client",
	"maxsessrate":       "ebb has no limit of this kind for all listeners; source_rate bounds one client",
	"server-state-base": "state_file keeps what operators say over restarts",
	"nbthread":          "[relay] loops says how many; by default there are as many as cores",
}

// proxyUsed are read where they are needed; the last line of each counts.
var proxyUsed = []string{
	"balance", "hash-type", "hash-balance-factor", "retries", "maxconn", "default_backend", "stick-table", "stick", "external-check",
	"source", "rate-limit",
}

// proxyQuiet change nothing that ebb does.
var proxyQuiet = []string{
	"mode", "description", "id", "guid", "enabled", "backlog", "log-format-sd", "log-format", "log-tag", "error-log-format", "log-steps", "fullconn",
	"hash-preserve-affinity", "max-keep-alive-queue", "unique-id-format", "unique-id-header",
}

// proxyNotes are done elsewhere.
var proxyNotes = map[string]string{
	"log":                         "ebb logs each session to stderr; [log] says where else, and how much",
	"load-server-state-from-file": "state_file keeps what operators say over restarts",
	"server-state-file-name":      "state_file keeps what operators say over restarts",
	"email-alert":                 "ebb sends no mail: ebb events, and deploy/prometheus/alerts.yml",
}

// proxyHTTP say nothing about connections.
var proxyHTTP = []string{
	"http-request", "http-response", "http-after-response", "http-reuse", "http-send-name-header", "http-error", "errorfile", "errorfiles", "errorloc",
	"errorloc302", "errorloc303", "cookie", "capture", "compression", "monitor-uri", "monitor", "stats", "redirect", "retry-on", "force-persist",
	"ignore-persist", "declare", "clitcpka-cnt", "clitcpka-idle", "clitcpka-intvl", "srvtcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl", "dynamic-cookie-key",
}

const (
	noContent = "ebb looks at no bytes of a session: give each kind of client a port, and a listener, of its own"
	noSource  = "a pool of ebb has one source for all its peers: write source or interface into its [pool.NAME.socket]"
)

// proxyRefused would be missed.
var proxyRefused = map[string]string{
	"use-server":          "ebb chooses among all servers of a pool, by balance and by tiers: give these clients a listener and a pool of their own",
	"tcp-response":        noContent,
	"tcp-request lua":     "ebb runs no scripts",
	"filter":              "ebb has no filters",
	"dispatch":            "write it as a server",
	"persist":             "ebb reads no RDP cookies: balance = \"hash\" keeps a client on its peer",
	"monitor-net":         "ebb answers no such connections; ask /readyz of its admin address",
	"bandwidth-limit":     "ebb does not limit bandwidth",
	"transparent":         "a session of ebb goes to a peer of a pool",
	"email-alert-mailers": "ebb sends no mail: ebb events, and deploy/prometheus/alerts.yml",
	"tcp-request-bwlim":   "ebb does not limit bandwidth",
}

// optionChecks choose what is asked.
var optionChecks = map[string]bool{
	"httpchk": true, "tcp-check": true, "pgsql-check": true, "mysql-check": true, "redis-check": true, "smtpchk": true, "ldap-check": true,
	"ssl-hello-chk": true, "external-check": true, "spop-check": true,
}

// optionQuiet change nothing that ebb does, or are about HTTP.
var optionQuiet = []string{
	"tcplog", "httplog", "httpslog", "dontlognull", "dontlog-normal", "logasap", "log-health-checks", "log-separate-errors", "redispatch", "splice-auto",
	"splice-request", "splice-response", "tcp-smart-accept", "tcp-smart-connect", "contstats", "socket-stats", "independent-streams", "http-server-close",
	"httpclose", "forceclose", "http-keep-alive", "http-tunnel", "forwardfor", "forwarded", "originalto", "http-buffer-request", "http-ignore-probes",
	"http-no-delay", "http-pretend-keepalive", "http-use-proxy-header", "http-use-htx", "http-drop-response-trailers", "http-drop-request-trailers",
	"http-restrict-req-hdr-names", "accept-invalid-http-request", "accept-invalid-http-response", "accept-unsafe-violations-in-http-request",
	"accept-unsafe-violations-in-http-response", "h1-case-adjust-bogus-client", "h1-case-adjust-bogus-server", "disable-h2-upgrade", "checkcache",
	"prefer-last-server", "persist", "idle-close-on-response", "clitcpka", "srvtcpka", "tcpka", "host", "use-small-buffers",
}

var optionNotes = map[string]string{
	"abortonclose": "ebb always gives up the place of a client that has gone while it waits",
	"nolinger":     "ebb passes an end on as it comes: FIN as FIN, RST as RST",
}

var optionRefused = map[string]string{
	"transparent": "a session of ebb goes to a peer of a pool",
	"http_proxy":  "a session of ebb goes to a peer of a pool",
}
