package cmd_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
)

// press sends a key to a model, and what follows from it as long as it is no tick.
func press(t *testing.T, model tea.Model, key rune) (quit bool) {
	t.Helper()
	pressed := tea.KeyPressMsg{Code: key}
	if key <= unicode.MaxRune {
		pressed.Text = string(key)
	}
	_, follow := model.Update(pressed)
	if follow == nil {
		return false
	}
	msg := follow()
	if _, quit = msg.(tea.QuitMsg); !quit {
		model.Update(msg)
	}
	return quit
}

func TestTopScrollsHoldsAndQuits(t *testing.T) {
	t.Parallel()
	reads := 0
	var failing error
	model := cmd.NewTop(30, func() (string, error) {
		reads++
		return fmt.Sprintf("read%d", reads), failing
	})
	model.Update(tea.WindowSizeMsg{Width: 140, Height: 10})
	shown := func() []string { return strings.Split(model.View().Content, "\n") }

	require.Len(t, shown(), 10, "as many lines as there are")
	require.Contains(t, shown()[4], "QUEUE")
	require.Contains(t, shown()[9], "lines 1–9 of ")
	press(t, model, 'j')
	press(t, model, tea.KeyDown)
	require.Contains(t, shown()[2], "QUEUE")
	press(t, model, 'k')
	require.Contains(t, shown()[3], "QUEUE")
	press(t, model, 'G')
	require.Contains(t, strings.Join(shown(), "\n"), "queue29")
	press(t, model, 'g')
	require.Contains(t, shown()[4], "QUEUE")

	press(t, model, 'r')
	require.Contains(t, model.View().Content, "read1")
	press(t, model, 'p')
	require.Contains(t, shown()[9], "HELD")
	press(t, model, 'r')
	require.Contains(t, model.View().Content, "read1", "what is held stays")
	press(t, model, 'p')
	require.Contains(t, model.View().Content, "read3")
	failing = errors.New("the database is away")
	press(t, model, 'r')
	require.Contains(t, model.View().Content, "read3", "the last picture stays")
	require.Contains(t, shown()[9], "cannot read: the database is away")
	require.True(t, press(t, model, 'q'))
}
