package config

import "time"

// defaults is a Config with one of each thing, in which every key has the value that it has when nobody sets it. Keys
// without a default are zero: those are names, addresses, hosts and ports, which must be given, and a pool's check.Kind.
// A pool has no check unless it is asked for.
func defaults() Config {
	return Config{
		Admin:           Admin{Listen: "127.0.0.1:9321"},
		Log:             Log{Level: "info", Format: "auto", Target: "stderr", Access: "close", Progress: 10 * time.Minute},
		Relay:           Relay{Engine: "auto", Loops: 0},
		ShutdownDelay:   0,
		ShutdownTimeout: 30 * time.Second,
		Resolvers: []Resolver{{
			Name:              "default",
			Servers:           []string{"system"},
			Strategy:          "failover",
			AttemptTimeout:    time.Second,
			Attempts:          3,
			Deadline:          5 * time.Second,
			EDNSSize:          1232,
			CaseRandomization: false,
			CAFile:            "",
			HostsFile:         "/etc/hosts",
		}},
		Listeners: []Listener{{
			MaxConns:         10000,
			IdleTimeout:      0,
			UDPIdleTimeout:   time.Minute,
			HalfCloseTimeout: 30 * time.Second,
			MaxAge:           0,
			Datapath:         "relay",
			SourceMaxConns:   0,
			SourceRate:       0,
			SourcePrefixIPv4: 32,
			SourcePrefixIPv6: 64,

			Mode:              "session",
			Responses:         1,
			Requests:          0,
			MaxFlowsPerSource: 0,
		}},
		Pools: []Pool{{
			Balance:          "leastconn",
			HashKey:          "source",
			Resolver:         "default",
			ConnectTimeout:   3 * time.Second,
			ConnectAttempts:  3,
			ConnectDeadline:  0,
			FirstByteTimeout: 0,
			ProxyOut:         "off",
			MaxConns:         0,
			Queue:            0,
			QueueTimeout:     10 * time.Second,
			WhenNone:         "refuse",
			HoldTimeout:      30 * time.Second,
			HoldMax:          1000,
			DrainTimeout:     0,
			CloseRate:        500,
			On:               On{Dead: "close", Removed: "drain", AdminDrain: "drain", AdminMaint: "close"},
			Backends: []Backend{{
				Type:         "addr",
				Weight:       1,
				Tier:         0,
				Family:       "auto",
				Refresh:      0,
				MinRefresh:   time.Second,
				MaxRefresh:   5 * time.Minute,
				OnEmpty:      "hold",
				EmptyHold:    30 * time.Second,
				OnError:      "keep",
				MaxStale:     72 * time.Hour,
				AbsentHold:   0,
				AllowAnswers: nil,
			}},
			Check: &Check{
				Interval:      2 * time.Second,
				Timeout:       time.Second,
				FastInterval:  500 * time.Millisecond,
				Fall:          3,
				Rise:          2,
				RefusedIsDown: true,
				Port:          0,
				Proxy:         "off",
				TLS:           "off",
				Database:      "postgres",
				Protocol:      "auto",
				Query:         ".",
				QueryType:     "NS",
				Method:        "GET",
				Path:          "/",
				Host:          "",
				Expect:        "200-399",
				ExpectBody:    "",
			},
		}},
	}
}

// DefaultBackend is a backend for which nothing but its name was set.
func DefaultBackend() Backend { return defaults().Pools[0].Backends[0] }
