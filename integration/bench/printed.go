package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// wholeSeconds is a time for programs that run for whole seconds, at least one.
func wholeSeconds(length time.Duration) string {
	return strconv.Itoa(max(1, int(math.Round(length.Seconds()))))
}

// printed reads what a program says of its work: units each second, and in all.
func printed(program string, out []byte, rate, done *regexp.Regexp) (r result, err error) {
	each, all := rate.FindSubmatch(out), done.FindSubmatch(out)
	if each == nil || all == nil {
		return r, fmt.Errorf("%s printed %q", program, out)
	}
	var err1, err2 error
	r.rate, err1 = strconv.ParseFloat(string(each[1]), 64)
	r.units, err2 = strconv.ParseFloat(string(all[1]), 64)
	return r, errors.Join(err1, err2)
}
