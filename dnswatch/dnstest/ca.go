package dnstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"sync"
	"time"
)

var quiet = log.New(io.Discard, "", 0) // that a client refuses a certificate is often the point

// CA makes certificates that are worth nothing outside of a test.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu      sync.Mutex
	renamed []string
	configs []*tls.Config // given to servers over TLS
}

// NewCA makes a CA with a key of its own.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dnstest CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// Rename makes the certificates of this CA hold for other names, from the next handshake on. Sessions are not resumed.
func (ca *CA) Rename(names ...string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.renamed = names
	for _, c := range ca.configs {
		var key [32]byte
		_, _ = rand.Read(key[:]) // never fails
		c.SetSessionTicketKeys([][32]byte{key})
	}
}

// PEM is the CA's certificate, for clients to trust.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// config has a certificate for the names and for 127.0.0.1.
func (ca *CA) config(names []string) *tls.Config {
	c := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		names := names
		ca.mu.Lock()
		if ca.renamed != nil {
			names = ca.renamed
		}
		ca.mu.Unlock()
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "dnstest"}, DNSNames: names,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, ca.key.Public(), ca.key)
		if err != nil {
			return nil, err
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ca.key}, nil
	}}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.configs = append(ca.configs, c)
	return c
}
