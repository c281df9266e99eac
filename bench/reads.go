package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// readsAt is the number of samples at which PEPhub's own statements are measured, in a
// hundredth as many projects.
const readsAt = 1_000_000

func measureReads(ctx context.Context, b *bench) (string, error) {
	const before, after = "bench_before", "bench_after"
	defer b.server.drop(context.WithoutCancel(ctx), before)
	defer b.server.drop(context.WithoutCancel(ctx), after)
	err := b.chain(ctx, readsAt, 7, func(step int, template string) error {
		if step != 7 {
			return nil
		}
		if err := b.server.create(ctx, before, template); err != nil {
			return err
		}
		if _, err := b.upgrade(ctx, before, 14); err != nil {
			return err
		}
		for _, statement := range []string{
			"INSERT INTO views (name, project_id) SELECT 'view', id FROM projects",
			"INSERT INTO views_samples (sample_id, view_id) SELECT s.id, v.id FROM views AS v JOIN samples AS s ON s.project_id = v.project_id AND s.sample_name LIKE 'sample_'",
			"VACUUM ANALYZE",
		} {
			if _, err := b.server.run(ctx, before, statement); err != nil {
				return err
			}
		}
		if err := b.server.create(ctx, after, before); err != nil {
			return err
		}
		_, err := b.upgrade(ctx, after, 15)
		return err
	})
	if err != nil {
		return "", err
	}
	statements, err := b.pephubStatements(ctx, before)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "What pepdbagent 0.12.3 sends for one project of a hundred samples, among %d in all: at step 14, which is what it makes itself, and\nat step 15, with the indexes that this program adds. The median of several times.\n\n| | step 14 | step 15 | |\n|---|---|---|---|\n", readsAt)
	for _, statement := range statements {
		was, err := b.repeat(ctx, before, statement.sql)
		if err != nil {
			return "", err
		}
		is, err := b.repeat(ctx, after, statement.sql)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %.0f x |\n", statement.what, short(was), short(is), float64(was)/float64(is))
	}
	return text.String(), nil
}

type statement struct{ what, sql string }

// pephubStatements reads what is in reads.sql, for one project.
func (b *bench) pephubStatements(ctx context.Context, database string) ([]statement, error) {
	project, err := b.server.ask(ctx, database, `
		SELECT p.id, p.namespace, p.name, (SELECT min(guid) FROM samples WHERE project_id = p.id)
		FROM projects AS p
		ORDER BY p.id
		OFFSET (SELECT count(*) / 2 FROM projects)
		LIMIT 1`)
	if err != nil {
		return nil, err
	}
	text, err := readData("reads.sql", map[string]string{"id": project[0], "namespace": project[1], "name": project[2], "guid": project[3]})
	if err != nil {
		return nil, err
	}
	var statements []statement
	for part := range strings.SplitSeq(text, "\n-- ") {
		what, sql, _ := strings.Cut(part, "\n")
		if sql != "" {
			statements = append(statements, statement{what, sql})
		}
	}
	return statements, nil
}

// repeat returns the median time of what is executed on a connection that is warm.
func (b *bench) repeat(ctx context.Context, database, sql string) (time.Duration, error) {
	conn, err := b.server.connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	var times []time.Duration
	for began := time.Now(); len(times) < 3 || len(times) < 50 && time.Since(began) < 2*time.Second; {
		took, err := once(ctx, conn, sql)
		if err != nil {
			return 0, err
		}
		times = append(times, took)
	}
	return quantile(times[1:], 0.5), nil
}

func once(ctx context.Context, conn *pgconn.PgConn, sql string) (time.Duration, error) {
	start := time.Now()
	err := execute(ctx, conn, sql)
	return time.Since(start), err
}
