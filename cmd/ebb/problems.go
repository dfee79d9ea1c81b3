package main

import (
	"errors"
	"io"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// problem is one thing that is wrong with a config, for scripts. What a running ebb says of one is all in the text.
type problem struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"` // from 1
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
}

// problemsOf gives what an error says is wrong with a config; none if it is about something else.
func problemsOf(err error) (list []problem) {
	var here config.Problems
	var there *admin.Invalid
	switch {
	case errors.As(err, &here):
		for _, p := range here {
			list = append(list, problem(p))
		}
	case errors.As(err, &there):
		for _, text := range there.Problems {
			list = append(list, problem{Text: text})
		}
	}
	return list
}

// writeProblems writes what is wrong as a document, and gives the error back. An error about something else is no document.
func writeProblems(out io.Writer, err error) error {
	if list := problemsOf(err); list != nil {
		err = errors.Join(err, writeJSON(out, struct {
			Problems []problem `json:"problems"`
		}{list}))
	}
	return err
}
