package admin

import (
	"context"
	"net/http"
	"net/url"
)

// HoldReply is the document of a hold or a release.
type HoldReply struct {
	Pool    string `json:"pool"`
	Held    bool   `json:"held"`
	Changed bool   `json:"changed"` // it was not so before
	Waiting int64  `json:"waiting"` // clients that wait now
}

func holdPool(w http.ResponseWriter, r *http.Request, s Source, on bool) {
	if !decode(w, r, new(struct{})) {
		return
	}
	reply, err := s.HoldPool(r.PathValue("pool"), on)
	if err != nil {
		unknown(w, err)
		return
	}
	document(w, http.StatusOK, reply)
}

// HoldPool makes the new clients of a pool wait, or lets those that wait go.
func (c *Client) HoldPool(ctx context.Context, pool string, on bool) (reply HoldReply, err error) {
	verb := "/release"
	if on {
		verb = "/hold"
	}
	return reply, c.do(ctx, http.MethodPost, "/v1/pools/"+url.PathEscape(pool)+verb, struct{}{}, &reply)
}
