package admin

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// maxLabels is the most that a sample has.
const maxLabels = 3

// seriesKey is one series of a scrape.
type seriesKey struct {
	metric *Metric
	labels [maxLabels]string
}

// point is a series of a scrape with its value. It is made without NewConstMetric, which costs more than the sample: a thousand
// peers have some thousands of series.
type point struct {
	desc    *prometheus.Desc
	labels  []*dto.LabelPair
	counter *dto.Counter
	gauge   *dto.Gauge
}

func (p *point) Desc() *prometheus.Desc { return p.desc }

func (p *point) Write(m *dto.Metric) error {
	m.Label, m.Counter, m.Gauge = p.labels, p.counter, p.gauge
	return nil
}

// gather takes one sample of everything, and merges what has the same labels.
func (m *Metrics) gather() map[seriesKey]float64 {
	all := make(map[seriesKey]float64, m.last.Load())
	m.sample(func(metric *Metric, value float64, labels ...string) {
		key := seriesKey{metric: metric}
		if n := copy(key.labels[:], labels); n != len(labels) {
			panic("admin: a sample has too many labels: " + strings.Join(labels, " "))
		}
		switch before, there := all[key]; {
		case there && metric.max:
			value = max(before, value)
		case there:
			value += before
		}
		all[key] = value
	})
	m.last.Store(int64(len(all)))
	return all
}

// points makes of a sample what a scrape sends. All of them share a few allocations.
func points(all map[seriesKey]float64) []point {
	n := len(all)
	list := make([]point, 0, n)
	values, texts, pairs, refs := make([]float64, 0, n), make([]string, 0, n*maxLabels), make([]dto.LabelPair, n*maxLabels), make([]*dto.LabelPair, 0, n*maxLabels)
	counters, gauges := make([]dto.Counter, n), make([]dto.Gauge, n)
	for key, value := range all {
		if key.metric.bounds != nil {
			continue
		}
		i := len(list)
		values = append(values, value)
		p := point{desc: key.metric.desc}
		first := len(refs)
		for _, at := range key.metric.order {
			texts = append(texts, key.labels[at])
			pair := &pairs[len(refs)]
			pair.Name, pair.Value = &key.metric.labels[at], &texts[len(texts)-1]
			refs = append(refs, pair)
		}
		p.labels = refs[first:len(refs):len(refs)]
		if key.metric.kind == prometheus.CounterValue {
			counters[i].Value = &values[i]
			p.counter = &counters[i]
		} else {
			gauges[i].Value = &values[i]
			p.gauge = &gauges[i]
		}
		list = append(list, p)
	}
	return list
}

// byName is the order in which Prometheus wants labels.
func byName(labels []string) (order []int) {
	for i := range labels {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(labels[a], labels[b]) })
	return order
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	all := m.gather()
	list := points(all)
	for i := range list {
		ch <- &list[i]
	}
	of := make(map[*Metric]*histograms)
	for key, value := range all {
		if key.metric.bounds == nil {
			continue
		}
		if of[key.metric] == nil {
			of[key.metric] = &histograms{metric: key.metric, of: make(map[string]*histogramSeries)}
		}
		of[key.metric].add(value, slices.Clone(key.labels[:len(key.metric.labels)+1]))
	}
	for _, h := range of {
		h.collect(ch)
	}
	m.connect.Collect(ch)
	m.firstByte.Collect(ch)
}
