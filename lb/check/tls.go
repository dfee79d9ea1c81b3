package check

// newTLS is the "tls" kind: a handshake that succeeds is life.
func newTLS(o Options) (probeFunc, error) {
	if o.TLS.Mode == "" || o.TLS.Mode == "off" {
		o.TLS.Mode = "require"
	}
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	return reaches(w.open), nil
}
