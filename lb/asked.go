package lb

import (
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// checkOptions says how a pool's peers are asked.
func checkOptions(c *config.Check, socket *sock.Options) check.Options {
	steps := make([]check.Step, len(c.Steps))
	for i, s := range c.Steps {
		steps[i] = check.Step(s)
	}
	protocol := c.Protocol
	if protocol == "auto" {
		protocol = ""
	}
	return check.Options{
		Kind: c.Kind, Interval: c.Interval, Timeout: c.Timeout, FastInterval: c.FastInterval,
		Fall: c.Fall, Rise: c.Rise, RefusedIsDown: c.RefusedIsDown,
		Port: uint16(c.Port), Proxy: c.Proxy, Socket: *socket,
		TLS:  check.TLS{Mode: c.TLS, Name: c.TLSName, CAFile: c.TLSCAFile, CertFile: c.TLSCertFile, KeyFile: c.TLSKeyFile},
		User: c.User, PasswordFile: c.PasswordFile, Database: c.Database,
		Protocol: protocol, Steps: steps, Command: c.Command, DNS: check.DNS{Name: c.Query, Type: c.QueryType},
		HTTP: check.HTTP{Method: c.Method, Path: c.Path, Host: c.Host, Expect: c.Expect, Body: c.ExpectBody},
		Sentinel: check.Sentinel{
			Addrs: c.Sentinels, Primary: c.SentinelPrimary, Quorum: c.Quorum,
			User: c.SentinelUser, PasswordFile: c.SentinelPasswordFile,
		},
	}
}
