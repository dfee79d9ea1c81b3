package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// TLS says whether a probe is encrypted, and who is believed to be the target.
type TLS struct {
	Mode     string // "" or "off"; "require": whatever the certificate; "verify": it must be good for Name
	Name     string // that the certificate must hold for, and the one that is asked for (SNI); "": the target's address
	CAFile   string // who may vouch for it; "": the CAs of this host
	CertFile string // of this client, with its chain, for a server that asks; "": none
	KeyFile  string // the key of CertFile
}

// certs gives the TLS configuration of a probe. Its files are read again when they change.
type certs struct {
	from TLS

	mu    sync.Mutex
	conf  *tls.Config
	stamp string // of the files that conf was made of
}

func newCerts(t TLS) (*certs, error) {
	switch t.Mode {
	case "", "off":
		return nil, nil
	case "require", "verify":
		return &certs{from: t}, nil
	}
	return nil, fmt.Errorf("TLS mode %q: unknown", t.Mode)
}

// config is for a connection to address. Its errors are of files on this host.
func (c *certs) config(address netip.Addr) (*tls.Config, error) {
	conf, err := c.shared()
	if err != nil || c.from.Name != "" {
		return conf, err
	}
	conf = conf.Clone()
	conf.ServerName = address.WithZone("").String() // which crypto/tls verifies, but does not send as SNI
	return conf, nil
}

func (c *certs) shared() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp := ""
	for _, file := range []string{c.from.CAFile, c.from.CertFile, c.from.KeyFile} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, &failure{Local, err}
		}
		stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
	}
	if c.conf != nil && c.stamp == stamp {
		return c.conf, nil
	}
	conf, err := c.from.config()
	if err != nil {
		return nil, &failure{Local, err}
	}
	c.conf, c.stamp = conf, stamp
	return conf, nil
}

func (t TLS) config() (*tls.Config, error) {
	conf := &tls.Config{ServerName: t.Name, InsecureSkipVerify: t.Mode == "require", MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New(t.CAFile + ": no certificates in it")
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
