package admin

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
)

// maxLabels is the most that a sample has.
const maxLabels = 3

// series is one value of a metric.
type series struct {
	labels [maxLabels]string
	value  float64
}

func (s *series) compare(other *series) int {
	for i := range s.labels {
		if c := cmp.Compare(s.labels[i], other.labels[i]); c != 0 {
			return c
		}
	}
	return 0
}

// scrape takes one sample of everything: for each of the sampled metrics its series, in the order of their labels, each of them once.
func (m *Metrics) scrape() [][]series {
	all := make([][]series, len(sampled))
	for i := range all {
		all[i] = make([]series, 0, m.last[i].Load())
	}
	m.sample(func(metric *Metric, value float64, labels ...string) {
		s := series{value: value}
		if n := copy(s.labels[:], labels); n != len(labels) {
			panic("admin: a sample has too many labels: " + strings.Join(labels, " "))
		}
		for i, text := range labels {
			if !utf8.ValidString(text) { // Prometheus would refuse the whole scrape
				s.labels[i] = strings.ToValidUTF8(text, "\uFFFD")
			}
		}
		all[metric.index] = append(all[metric.index], s)
	})
	for i, list := range all {
		m.last[i].Store(int64(len(list)))
		all[i] = sampled[i].merge(list)
	}
	return all
}

// merge sorts series, and makes one of those that have the same labels. Most come in order.
func (m *Metric) merge(list []series) []series {
	if slices.IsSortedFunc(list, func(a, b series) int { return cmp.Or(a.compare(&b), -1) }) { // what is the same is not in order
		return list
	}
	slices.SortStableFunc(list, func(a, b series) int { return a.compare(&b) })
	merged := list[:1]
	for _, s := range list[1:] {
		switch last := &merged[len(merged)-1]; {
		case last.compare(&s) != 0:
			merged = append(merged, s)
		case m.max:
			last.value = max(last.value, s.value)
		default:
			last.value += s.value
		}
	}
	return merged
}

// family makes of series what a scrape sends. All of them share a few allocations: a thousand peers have some thousands of series.
func (m *Metric) family(list []series) *dto.MetricFamily {
	f := &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: m.kind.Enum()}
	if m.bounds != nil {
		f.Metric = m.histograms(list)
		return f
	}
	n, each := len(list), len(m.labels)
	f.Metric = make([]*dto.Metric, n)
	metrics, pairs, refs := make([]dto.Metric, n), make([]dto.LabelPair, n*each), make([]*dto.LabelPair, n*each)
	var counters []dto.Counter
	var gauges []dto.Gauge
	if m.kind == dto.MetricType_COUNTER {
		counters = make([]dto.Counter, n)
	} else {
		gauges = make([]dto.Gauge, n)
	}
	for i := range list {
		s, metric := &list[i], &metrics[i]
		for k, at := range m.order {
			pair := &pairs[i*each+k]
			pair.Name, pair.Value = &m.labels[at], &s.labels[at]
			refs[i*each+k] = pair
		}
		metric.Label = refs[i*each : (i+1)*each : (i+1)*each]
		if counters != nil {
			counters[i].Value = &s.value
			metric.Counter = &counters[i]
		} else {
			gauges[i].Value = &s.value
			metric.Gauge = &gauges[i]
		}
		f.Metric[i] = metric
	}
	return f
}

// byName is the order in which Prometheus wants labels.
func byName(labels []string) (order []int) {
	for i := range labels {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(labels[a], labels[b]) })
	return order
}

// Gather implements prometheus.Gatherer. Its error is one of a collector of the runtime's; the rest is there all the same. What is sampled does not pass a registry, which would look at every series for mistakes that
// only a program can make, and cost more than to sample them.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) {
	families, err := m.fed.Gather()
	for i, list := range m.scrape() {
		if len(list) > 0 {
			families = append(families, sampled[i].family(list))
		}
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}
