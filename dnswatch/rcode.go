package dnswatch

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// RcodeName is the rcode as dig writes it; "" if there was none, for nobody was asked, or nobody answered.
func (a Answer) RcodeName() string { return rcodeName(a.Server, a.Kind, a.Rcode) }

// RcodeName is the rcode of the last answer as dig writes it; "" if there was none.
func (s Status) RcodeName() string { return rcodeName(s.Server, s.Kind, s.Rcode) }

func rcodeName(server string, kind Kind, rcode int) string {
	if !strings.Contains(server, "://") || kind == KindFailure && rcode == dns.RcodeSuccess {
		return ""
	}
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
