package workers

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/towpath/towpath/jobs"
)

// AddProbe adds a probe that the program's code defines. It panics where AddProbeSafely returns an error.
//
// As with schedules, the probes of a bundle are written to the database when a process of cmd.Main starts, those that the
// code no longer has are taken out, and what was edited at run time holds until somebody goes back to the code's. The
// leader runs them.
func (b *Bundle) AddProbe(p jobs.Probe) {
	if err := b.AddProbeSafely(p); err != nil {
		panic(err)
	}
}

// AddProbeSafely adds a probe, or says what is wrong with it.
func (b *Bundle) AddProbeSafely(p jobs.Probe) error {
	document, err := p.Document()
	if err != nil {
		return err
	}
	if _, taken := b.probes[p.Name]; taken {
		return fmt.Errorf("add probe %q: there is one of that name", p.Name)
	}
	if b.probes == nil {
		b.probes = make(map[string]json.RawMessage)
	}
	b.probes[p.Name] = document
	return nil
}

// Probes returns the definitions of the bundle's probes by name, as towpath.define_probe takes them.
func (b *Bundle) Probes() map[string]json.RawMessage { return maps.Clone(b.probes) }
