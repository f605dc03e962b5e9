package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

const (
	// manyChunk is how many jobs go in one call, and manyBytes how large they may be together: what Postgres reads at once.
	manyChunk = 5000
	manyBytes = 16 << 20

	// longestLine bounds one job: 64 KiB of args, and what goes with them.
	longestLine = 1 << 20
)

// enqueuedMany is the result of `enqueue --many --json`.
type enqueuedMany struct {
	Enqueued int            `json:"enqueued" about:"how many were inserted"`
	Skipped  int            `json:"skipped" about:"how many equal unique jobs were there"`
	Jobs     []enqueuedView `json:"jobs" about:"one a line of the file, in its order"`
}

// jobOfJobs is how enqueue_many names the job at fault.
var jobOfJobs = regexp.MustCompile(`(?i)\bjob (\d+)( of jobs)?\.$`)

// manyReader reads jobs from lines. It counts while another goroutine looks.
type manyReader struct {
	name    string
	size    int64
	scanner *bufio.Scanner
	line    int
	lines   []int // the line of each job of the chunk
	read    atomic.Int64
	sent    atomic.Int64
}

// next returns the jobs of the next chunk, none at the end.
func (r *manyReader) next() ([]string, error) {
	var jobs []string
	r.lines = r.lines[:0]
	size := 0
	for len(jobs) < manyChunk && size < manyBytes && r.scanner.Scan() {
		r.line++
		line := bytes.TrimSpace(r.scanner.Bytes())
		r.read.Add(int64(len(r.scanner.Bytes()) + 1))
		if len(line) == 0 {
			continue
		}
		if !json.Valid(line) {
			return nil, fmt.Errorf("%s:%d: not JSON: %s; write one object a line, as in {\"kind\": \"mail.send\", \"args\": {}}", r.name, r.line, cell(string(line), 60))
		}
		jobs = append(jobs, string(line))
		r.lines = append(r.lines, r.line)
		size += len(line)
	}
	if err := r.scanner.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes; write one job a line", r.name, r.line+1, longestLine)
		}
		return nil, fmt.Errorf("read %s: %w", r.name, err)
	}
	return jobs, nil
}

// at names the line of the job that was refused.
func (r *manyReader) at(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	match := jobOfJobs.FindStringSubmatch(pgErr.Detail)
	if match == nil {
		return err
	}
	number, parseErr := strconv.Atoi(match[1])
	if parseErr != nil || number < 1 || number > len(r.lines) {
		return err
	}
	return fmt.Errorf("%s:%d: %w", r.name, r.lines[number-1], &answerError{pgErr})
}

func (p *Program) enqueueMany(c *cobra.Command, name string) error {
	for _, other := range []string{
		"queue", "priority", "scheduled-at", "max-attempts", "tag", "metadata", "unique-key", "unique-by-args",
		"unique-args", "unique-period", "unique-queue", "unique-states", "unique-exclude-kind",
	} {
		if c.Flags().Changed(other) {
			return usagef("--%s does not go with --many; write it into each line", other)
		}
	}
	reader, closeFile, err := p.openMany(name)
	if err != nil {
		return err
	}
	defer closeFile()
	pool, err := p.Database(c.Context())
	if err != nil {
		return err
	}
	result := enqueuedMany{Jobs: []enqueuedView{}}
	send := func(ctx context.Context) error { return reader.send(ctx, pool, &result) }
	if reader.size > manyBytes/16 || reader.size < 0 && isTerminal(p.stderr) {
		err = p.Progress(c.Context(), reader.progress, send)
	} else {
		err = send(c.Context())
	}
	if err != nil {
		return err
	}
	switch {
	case p.json:
		return p.printJSON(result)
	case p.quiet:
		for _, job := range result.Jobs {
			fmt.Fprintln(p.stdout, job.ID)
		}
	default:
		fmt.Fprintf(p.stdout, "%s enqueued, %d skipped.\n", jobCount(result.Enqueued), result.Skipped)
	}
	return nil
}

// openMany opens a file of jobs. The size of what is no file is unknown, -1.
func (p *Program) openMany(name string) (*manyReader, func(), error) {
	in := p.stdin
	reader := &manyReader{name: "input", size: -1}
	closeFile := func() {}
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, nil, fmt.Errorf("open jobs: %w", err)
		}
		closeFile = func() { file.Close() }
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			reader.size = info.Size()
		}
		in, reader.name = file, name
	}
	reader.scanner = bufio.NewScanner(in)
	reader.scanner.Buffer(make([]byte, 0, 64<<10), longestLine)
	return reader, closeFile, nil
}

// send enqueues all jobs in one transaction.
func (r *manyReader) send(ctx context.Context, pool *pgxpool.Pool, result *enqueuedMany) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for {
			jobs, err := r.next()
			if err != nil || len(jobs) == 0 {
				return err
			}
			views, err := enqueueChunk(ctx, tx, jobs)
			if err != nil {
				return r.at(err)
			}
			for _, view := range views {
				if view.Skipped {
					result.Skipped++
				} else {
					result.Enqueued++
				}
			}
			result.Jobs = append(result.Jobs, views...)
			r.sent.Add(int64(len(jobs)))
		}
	})
}

// progress tells how far it is: by bytes where the size is known, else by jobs.
func (r *manyReader) progress(context.Context) ([]Amount, error) {
	if r.size < 0 {
		return []Amount{{Name: "jobs", Done: int(r.sent.Load()), Total: int(r.sent.Load())}}, nil
	}
	return []Amount{{Name: "bytes", Done: int(r.read.Load()), Total: int(r.size)}}, nil
}
