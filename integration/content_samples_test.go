package integration

import (
	"strconv"
	"strings"
)

// oneSample is a sample as any release from 0.5 on keeps it.
type oneSample struct {
	project, id, json, name, guid, parent, submitted, updated string
	number                                                    int
}

// readSamples adds the samples of every project in their order: that of the document, of
// the row numbers, or of the list.
func (r *contentReader) readSamples() {
	r.content.kind("sample", "name of sample", "orphan", "date of sample")
	switch {
	case r.has("projects.project_value"):
		for _, p := range r.projects {
			var list []oneSample
			for _, record := range p.decoded.samples {
				list = append(list, oneSample{json: record})
			}
			r.addSamples(p, list)
		}
	case r.numbered():
		r.content.kind("id of sample")
		for project, list := range r.samplesByProject("row_number, id") {
			r.recount(r.byID[project], list)
			r.addSamples(r.byID[project], list)
		}
	default:
		r.content.kind("id of sample", "guid", "loose sample")
		for project, list := range r.samplesByProject("id") {
			r.addSamples(r.byID[project], r.inList(list))
		}
	}
}

func (r *contentReader) samplesByProject(order string) map[string][]oneSample {
	lists := map[string][]oneSample{}
	for _, row := range rows(r.t, r.conn, "SELECT "+strings.Join([]string{
		"project_id", "id", "sample", r.column("samples.sample_name"), r.column("samples.row_number"),
		r.column("samples.guid"), r.column("samples.parent_guid"), r.date("samples.submission_date"),
		r.date("samples.last_update_date"),
	}, ", ")+" FROM samples ORDER BY "+order) {
		number, _ := strconv.Atoi(row[4])
		sample := oneSample{
			project: row[0], id: row[1], json: canonical(r.t, row[2]), name: row[3], number: number, guid: row[5], parent: row[6],
			submitted: row[7], updated: row[8],
		}
		if sample.project == null {
			r.content.add("orphan", sample.id, sample.json)
			continue
		}
		lists[sample.project] = append(lists[sample.project], sample)
	}
	return lists
}

// inList returns the samples in the order of their list, and notes those that it does not
// reach.
func (r *contentReader) inList(samples []oneSample) []oneSample {
	byParent := map[string][]oneSample{}
	for _, sample := range samples {
		byParent[sample.parent] = append(byParent[sample.parent], sample)
	}
	var list []oneSample
	next := byParent[null]
	for len(next) == 1 {
		list = append(list, next[0])
		next = byParent[next[0].guid]
	}
	if len(list) < len(samples) {
		r.content.add("loose sample", samples[0].project, len(samples)-len(list))
	}
	return list
}

// recount counts the samples of a project some of whose rows share a number: 0.7 and 0.8
// showed one of those only.
func (r *contentReader) recount(p *oneProject, samples []oneSample) {
	numbers := map[int]bool{}
	for _, sample := range samples {
		numbers[sample.number] = true
	}
	if len(numbers) < len(samples) {
		p.samples = strconv.Itoa(len(samples))
	}
}

func (r *contentReader) addSamples(p *oneProject, samples []oneSample) {
	for i, sample := range samples {
		name := sample.name
		if !r.has("samples.sample_name") {
			value, _ := last(members(r.t, sample.json), r.nameColumn(p))
			name = textOf(value)
		}
		submitted, updated := sample.submitted, sample.updated
		if r.numbered() {
			submitted, updated = p.submitted, p.updated
			if updated == null {
				updated = submitted
			}
		}
		r.content.add("sample", p.key(), i, sample.json)
		r.content.add("name of sample", p.key(), i, quoted(name))
		r.content.add("date of sample", p.key(), i, submitted, updated)
		if sample.id != "" {
			r.content.add("id of sample", p.key(), i, sample.id)
		}
		if !r.numbered() {
			r.content.add("guid", p.key(), i, sample.guid)
		}
	}
}

// nameColumn is the column in which a sample's name is.
func (r *contentReader) nameColumn(p *oneProject) string {
	if p.document != null {
		return p.decoded.nameColumn()
	}
	return nameColumn(members(r.t, p.config))
}

// readSubsamples adds the subsamples in the order in which pepdbagent reads them: that on
// disk.
func (r *contentReader) readSubsamples() {
	r.content.kind("subsample")
	if r.has("projects.project_value") {
		for _, p := range r.projects {
			position := 0
			for number, table := range p.decoded.tables {
				for row, record := range table {
					r.content.add("subsample", p.key(), position, number, row, record)
					position++
				}
			}
		}
		return
	}
	r.content.kind("id of subsample")
	positions := map[string]int{}
	for _, row := range rows(r.t, r.conn,
		"SELECT project_id, subsample_number, row_number, subsample, id FROM subsamples ORDER BY ctid") {
		key := null
		if p := r.byID[row[0]]; p != nil {
			key = p.key()
		}
		r.content.add("subsample", key, positions[key], row[1], row[2], canonical(r.t, row[3]))
		r.content.add("id of subsample", key, positions[key], row[4])
		positions[key]++
	}
}
