package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// processView is a process as --json prints it.
type processView struct {
	ClientID  string          `json:"client_id" about:"the client's id, as in attempted_by of its jobs"`
	Host      string          `json:"host" about:"where it runs"`
	PID       int32           `json:"pid" about:"its process id there"`
	Version   string          `json:"version" about:"the program's version"`
	Roles     []string        `json:"roles" about:"what it was started as"`
	Queues    json.RawMessage `json:"queues" about:"an object of queue names and numbers of slots"`
	Kinds     []string        `json:"kinds" about:"the kinds it has workers for"`
	Slots     int32           `json:"slots" about:"how many jobs it runs at once"`
	Running   int32           `json:"running" about:"how many it ran at its last sign of life"`
	Status    string          `json:"status" about:"live; silent: no sign of life for 20 seconds; stopped in good order; dead: given up by the others"`
	Leads     bool            `json:"leads" about:"whether it is the leader"`
	Since     time.Time       `json:"since" about:"when it started"`
	BeatAt    time.Time       `json:"beat_at" about:"when it last gave a sign of life"`
	StoppedAt *time.Time      `json:"stopped_at" about:"when it stopped, else null"`
	DeadAt    *time.Time      `json:"dead_at" about:"when it was given up, else null"`
}

// name tells people which process it is.
func (v *processView) name() string { return processName(v.Host, int(v.PID)) }

// processPage is the result of `processes --json`.
type processPage struct {
	Processes []processView `json:"processes" about:"dead ones, then live, silent and stopped ones, by host"`
	Next      *string       `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) processesCommand() *cobra.Command {
	var page pageFlags
	c := &cobra.Command{
		Use:   "processes",
		Short: "List the processes that work, and which one leads",
		Long: "List the processes that work queues, and those that have until a short while ago. Clients of plain River are not\n" +
			"among them.",
		Example: "  towpath processes\n  towpath processes --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.listProcesses(c.Context(), page)
		},
	}
	page.addTo(c, 100, "the last client id")
	p.quietFlag(c, "print the client ids alone")
	p.returns(c, processPage{})
	return p.needs(c, roleReader)
}

// processes reads the processes.
func processes(ctx context.Context, db store.DB) ([]processView, error) {
	rows, err := store.ListProcesses(ctx, db)
	if err != nil {
		return nil, err
	}
	views := make([]processView, len(rows))
	for i, row := range rows {
		views[i] = processView{
			ClientID: row.ClientID, Host: row.Host, PID: row.Pid, Version: row.Version, Roles: orEmpty(row.Roles), Queues: row.Queues,
			Kinds: orEmpty(row.Kinds), Slots: row.Slots, Running: row.Running, Status: row.Status, Leads: row.Leads, Since: row.Since,
			BeatAt: row.BeatAt, StoppedAt: row.StoppedAt, DeadAt: row.DeadAt,
		}
	}
	return views, nil
}

// processName is how findings and the status name a process.
func processName(host string, pid int) string { return fmt.Sprintf("%s pid %d", host, pid) }

func (p *Program) listProcesses(ctx context.Context, flags pageFlags) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	all, err := processes(ctx, pool)
	if err != nil {
		return err
	}
	var page processPage
	key := func(process processView) string { return process.ClientID }
	if page.Processes, page.Next, err = paginate(flags, all, key); err != nil {
		return err
	}
	return printList(p, page, page.Processes, page.Next, key, processTable)
}

// processTable returns the table of processes, as `processes` and `top` show it.
func processTable(processes []processView) (header []string, rows [][]string) {
	rows = make([][]string, len(processes))
	for i, process := range processes {
		leads := "-"
		if process.Leads {
			leads = "leads"
		}
		rows[i] = []string{
			cell(process.Host, 40), strconv.Itoa(int(process.PID)), process.Status, leads, orDash(strings.Join(process.Roles, ",")),
			queueSlots(process.Queues), strconv.Itoa(int(process.Running)), strconv.Itoa(int(process.Slots)), orDash(cell(process.Version, 24)),
			moment(&process.Since), moment(&process.BeatAt),
		}
	}
	return []string{"HOST", "PID", "STATUS", "LEADER", "ROLES", "QUEUES", "RUNNING", "SLOTS", "VERSION", "SINCE", "BEAT"}, rows
}

// queueSlots writes queues as TOWPATH_QUEUES does.
func queueSlots(queues json.RawMessage) string {
	slots := config.Queues{}
	if err := json.Unmarshal(queues, &slots); err != nil {
		return "-"
	}
	return orDash(cell(slots.String(), 40))
}
