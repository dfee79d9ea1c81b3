package admin

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Sum is what stands for a bucket where the sum of all values of a histogram is given.
const Sum = "sum"

// UDPBatchBounds are the buckets of UDPBatch.
var UDPBatchBounds = [...]float64{1, 2, 4, 8, 16, 32, 64}

// histogram defines a metric that is sampled bucket by bucket: a sample has one label more, which is the bucket, and the value is
// how many there were in it and in no smaller one; or Sum.
func histogram(name, help string, bounds []float64, labels ...string) *Metric {
	m := define(0, name, help, labels...)
	m.bounds = bounds
	return m
}

// Bucket names a bucket of a histogram by its place: the last one is for what is above all bounds.
func (m *Metric) Bucket(i int) string {
	if i == len(m.bounds) {
		return "+Inf"
	}
	return strconv.FormatFloat(m.bounds[i], 'f', -1, 64)
}

// histograms is one metric at one scrape.
type histograms struct {
	metric *Metric
	of     map[string]*histogramSeries
}

type histogramSeries struct {
	labels []string
	counts map[string]uint64
	sum    float64
}

// add takes a sample: the last label says which bucket it is of.
func (h *histograms) add(value float64, labels []string) {
	last := len(labels) - 1
	key := strings.Join(labels[:last], "\x00")
	s := h.of[key]
	if s == nil {
		s = &histogramSeries{labels: labels[:last], counts: make(map[string]uint64)}
		h.of[key] = s
	}
	if labels[last] == Sum {
		s.sum = value
		return
	}
	s.counts[labels[last]] = uint64(value)
}

func (h *histograms) collect(ch chan<- prometheus.Metric) {
	for _, s := range h.of {
		count, upTo := uint64(0), make(map[float64]uint64, len(h.metric.bounds))
		for i := range len(h.metric.bounds) + 1 {
			count += s.counts[h.metric.Bucket(i)]
			if i < len(h.metric.bounds) {
				upTo[h.metric.bounds[i]] = count
			}
		}
		c, err := prometheus.NewConstHistogram(h.metric.desc, count, s.sum, upTo, s.labels...)
		if err != nil {
			c = prometheus.NewInvalidMetric(h.metric.desc, err)
		}
		ch <- c
	}
}
