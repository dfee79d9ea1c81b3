package admin

import (
	"strconv"

	dto "github.com/prometheus/client_model/go"
)

// Sum is what stands for a bucket where the sum of all values of a histogram is given.
const Sum = "sum"

// UDPBatchBounds are the buckets of UDPBatch.
var UDPBatchBounds = [...]float64{1, 2, 4, 8, 16, 32, 64}

// histogram defines a metric that is sampled bucket by bucket: a sample has one label more, which is the bucket, and the value is
// how many there were in it and in no smaller one; or Sum.
func histogram(name, help string, bounds []float64, labels ...string) *Metric {
	m := define(dto.MetricType_HISTOGRAM, name, help, labels...)
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

// histograms makes of the series of the buckets the histograms that a scrape sends.
func (m *Metric) histograms(list []series) (all []*dto.Metric) {
	last := len(m.labels)
	for len(list) > 0 {
		first := list[0].labels
		first[last] = ""
		counts, sum, n := make([]uint64, len(m.bounds)+1), 0.0, 0
		for ; n < len(list); n++ {
			of := list[n].labels
			bucket := of[last]
			if of[last] = ""; of != first {
				break
			}
			if bucket == Sum {
				sum = list[n].value
				continue
			}
			for i := range counts {
				if m.Bucket(i) == bucket {
					counts[i] = uint64(list[n].value)
				}
			}
		}
		list = list[n:]
		h := &dto.Histogram{SampleSum: &sum}
		count := uint64(0)
		for i, bound := range m.bounds {
			count += counts[i]
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: proto(count), UpperBound: proto(bound)})
		}
		h.SampleCount = proto(count + counts[len(m.bounds)])
		metric := &dto.Metric{Histogram: h}
		for _, at := range m.order {
			metric.Label = append(metric.Label, &dto.LabelPair{Name: &m.labels[at], Value: proto(first[at])})
		}
		all = append(all, metric)
	}
	return all
}

// proto is a value as protobuf has it.
func proto[T any](v T) *T { return &v }
