package bench

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The versions that are installed; their fast settings are in the scripts.
const (
	nodePackage     = "node@22"
	graphilePackage = "graphile-worker@0.18.0"
	pgBossPackage   = "pg-boss@12.38.0"
)

//go:embed peers/*.mjs
var peerScripts embed.FS

// peers are job systems of other languages, installed for the run.
type peers struct{ dir string }

// installPeers brings Node and the peers from npm into a temporary directory.
func installPeers(ctx context.Context, p *progress) (_ *peers, err error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, fmt.Errorf("install the peers: %w; install Node.js with npm, or measure without peers", err)
	}
	dir, err := os.MkdirTemp("", "towpath-bench-peers-")
	if err != nil {
		return nil, fmt.Errorf("install the peers: %w", err)
	}
	installed := &peers{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, installed.remove())
		}
	}()
	if err := installed.copyScripts(); err != nil {
		return nil, err
	}
	p.line("installing %s, %s and %s from npm", nodePackage, graphilePackage, pgBossPackage)
	cmd := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--prefix", dir, nodePackage, graphilePackage, pgBossPackage)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install the peers: npm: %w\n%s", err, out)
	}
	if _, err := os.Stat(installed.node()); err != nil {
		return nil, fmt.Errorf("install the peers: npm brought no Node binary: %w", err)
	}
	return installed, nil
}

func (p *peers) copyScripts() error {
	scripts, err := fs.Sub(peerScripts, "peers")
	if err != nil {
		return fmt.Errorf("install the peers: %w", err)
	}
	if err := os.CopyFS(p.dir, scripts); err != nil {
		return fmt.Errorf("install the peers: %w", err)
	}
	return nil
}

func (p *peers) node() string { return filepath.Join(p.dir, "node_modules", ".bin", "node") }

func (p *peers) remove() error {
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("remove the peers: %w", err)
	}
	return nil
}

func (p *peers) variants() []variant {
	of := func(key, title, script, settings string) variant {
		return variant{key: key, title: title, make: func(b *bench) contender {
			return &peer{bench: b, script: script, about: settings}
		}}
	}
	return []variant{
		of("graphile_worker", "graphile-worker", "graphile-worker.mjs", graphilePackage+", 24 at once, local queue of 500, batched completion; plain jobs only"),
		of("pg_boss", "pg-boss", "pg-boss.mjs", pgBossPackage+", 2 loops, batches of 1,000; plain jobs only"),
	}
}

// A peer is a contender that runs as a process of its own.
type peer struct {
	bench         *bench
	script, about string
	db            *database
}

func (p *peer) settings() string { return p.about }

func (p *peer) open(ctx context.Context, key string) (err error) {
	p.db, err = p.bench.server.create(ctx, key)
	return err
}

func (p *peer) close(ctx context.Context) error {
	if p.db == nil {
		return nil
	}
	return p.db.drop(ctx)
}

// empty does nothing: the script empties its own tables.
func (p *peer) empty(context.Context) error { return nil }

// milestone is what the script tells.
type milestone struct {
	Event  string  `json:"event"`
	Count  int     `json:"count"`
	Left   int     `json:"left"`
	CPU    float64 `json:"cpu_us"`
	MaxRSS float64 `json:"max_rss_bytes"`
}

// workPeer lets a peer work a backlog of plain jobs.
func (r *run) workPeer(ctx context.Context, p *peer, plan plan) (o *outcome, err error) {
	arg, err := json.Marshal(map[string]any{"url": p.db.url, "warm": plan.warm, "measured": plan.measured, "rest": plan.rest})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.script, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The program and its arguments are our own.
	cmd := exec.CommandContext(ctx, r.peers.node(), filepath.Join(r.peers.dir, p.script), string(arg))
	complaints := &strings.Builder{}
	cmd.Dir, cmd.Stderr = r.peers.dir, complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.script, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.script, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.script, err)
	}
	figures, err := r.follow(ctx, json.NewDecoder(bufio.NewReader(stdout)), stdin)
	if err != nil {
		cancel()
	}
	if waitErr := cmd.Wait(); err != nil || waitErr != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", p.script, errors.Join(err, waitErr), complaints)
	}
	return &outcome{figures: figures}, nil
}

// follow reads the milestones and the meter at them.
func (r *run) follow(ctx context.Context, lines *json.Decoder, stdin io.Writer) (Figures, error) {
	var (
		figures     Figures
		before      reading
		warm, at    milestone
		errTooEarly = errors.New("it ended before its jobs did")
	)
	for {
		if err := lines.Decode(&at); err != nil {
			return nil, errors.Join(errTooEarly, err)
		}
		switch at.Event {
		case "ready":
			if _, err := io.WriteString(stdin, "go\n"); err != nil {
				return nil, fmt.Errorf("let it begin: %w", err)
			}
		case "warm":
			var err error
			if before, err = r.meter.read(ctx); err != nil {
				return nil, err
			}
			warm = at
		case "measured":
			after, err := r.meter.read(ctx)
			if err != nil {
				return nil, err
			}
			jobs := at.Count - warm.Count
			figures = after.figures(before, jobs)
			// What this process used and asked is not the peer's.
			delete(figures, GoCPU)
			delete(figures, StatementsPerJob)
			delete(figures, StatementsPerSecond)
			figures[NodeCPU] = (at.CPU - warm.CPU) / float64(jobs)
		case "done":
			if at.Left != 0 || figures == nil {
				return nil, fmt.Errorf("it ended with %d jobs left", at.Left)
			}
			figures[NodeMemory] = at.MaxRSS
			return figures, nil
		}
	}
}
