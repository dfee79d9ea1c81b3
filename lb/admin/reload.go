package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// maxConfig bounds the text of a config that a client sends.
const maxConfig = 8 << 20

const planPath = "/v1/reload/plan"

// ReloadReply is the document of a reload, and of its plan: what it changes, a line for each part. None means that the
// running config is the same.
type ReloadReply struct {
	Changes []string `json:"changes"`
}

// PlanRequest is a config as text. The name of its file is for what is wrong with it.
type PlanRequest struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// Invalid is the error for a config that cannot be used: everything that is wrong, each as FILE:LINE: KEY: WHAT.
type Invalid struct{ Problems []string }

func (i *Invalid) Error() string { return strings.Join(i.Problems, "\n") }

// reloaded answers for a reload or a plan.
func reloaded(w http.ResponseWriter, changes []string, err error) {
	var wrong *Invalid
	switch {
	case errors.As(err, &wrong):
		document(w, http.StatusUnprocessableEntity, problem{
			Error: fmt.Sprintf("the config has %d problems; the running config stays", len(wrong.Problems)), Problems: wrong.Problems,
		})
	case err != nil:
		document(w, http.StatusConflict, problem{Error: err.Error()})
	default:
		document(w, http.StatusOK, ReloadReply{append([]string{}, changes...)})
	}
}

func reload(w http.ResponseWriter, r *http.Request, s Source) {
	if !decode(w, r, new(struct{})) {
		return
	}
	changes, err := s.Reload()
	reloaded(w, changes, err)
}

func planReload(w http.ResponseWriter, r *http.Request, s Source) {
	var req PlanRequest
	if !decode(w, r, &req) {
		return
	}
	changes, err := s.Plan(req.File, req.Text)
	reloaded(w, changes, err)
}

// Reload makes ebb read its config again. The error is *Invalid if that cannot be used.
func (c *Client) Reload(ctx context.Context) (changes []string, err error) {
	var reply ReloadReply
	err = c.do(ctx, http.MethodPost, "/v1/reload", struct{}{}, &reply)
	return reply.Changes, err
}

// Plan says what a reload would change if the config had this text. The error is *Invalid if that cannot be used.
func (c *Client) Plan(ctx context.Context, file, text string) (changes []string, err error) {
	var reply ReloadReply
	err = c.do(ctx, http.MethodPost, planPath, PlanRequest{file, text}, &reply)
	return reply.Changes, err
}
