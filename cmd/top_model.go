package cmd

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// topModel is the live view: what was read last, and which part of it is in sight.
type topModel struct {
	interval      time.Duration
	read          func() (*topView, error)
	color         bool
	view          *topView
	err           error // of the last reading
	held          bool
	offset        int
	width, height int
}

// topRead is a reading that has come in; beat says that it was time for it, and not a key.
type topRead struct {
	view *topView
	err  error
	beat bool
}

// topBeat says that it is time for the next reading.
type topBeat struct{}

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.wait() }

func (m *topModel) wait() tea.Cmd {
	return tea.Tick(m.interval, func(time.Time) tea.Msg { return topBeat{} })
}

func (m *topModel) load(beat bool) tea.Cmd {
	return func() tea.Msg {
		view, err := m.read()
		return topRead{view: view, err: err, beat: beat}
	}
}

// Update implements tea.Model.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topBeat:
		if m.held {
			return m, m.wait()
		}
		return m, m.load(true)
	case topRead:
		m.err = msg.err
		if msg.err == nil && !m.held {
			m.view = msg.view
		}
		if msg.beat {
			return m, m.wait()
		}
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *topModel) key(name string) tea.Cmd {
	page := max(1, m.height-2)
	switch name {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "p":
		m.held = !m.held
		if !m.held {
			return m.load(false)
		}
	case "r":
		return m.load(false)
	case "down", "j":
		m.offset++
	case "up", "k":
		m.offset--
	case "pgdown", "space":
		m.offset += page
	case "pgup":
		m.offset -= page
	case "home", "g":
		m.offset = 0
	case "end", "G":
		m.offset = len(m.lines())
	}
	return nil
}

func (m *topModel) lines() []string { return m.view.lines(screen{width: m.width, color: m.color}) }

// View implements tea.Model.
func (m *topModel) View() tea.View {
	lines := m.lines()
	room := max(1, m.height-1)
	m.offset = max(0, min(m.offset, len(lines)-room))
	shown := lines[m.offset:min(len(lines), m.offset+room)]
	for i, line := range shown {
		shown[i] = ansi.Truncate(line, m.width, "…")
	}
	shown = append(shown, make([]string, max(0, room-len(shown)))...)
	v := tea.NewView(strings.Join(append(shown, m.foot(len(lines), room)), "\n"))
	v.AltScreen = true
	v.WindowTitle = "towpath top"
	return v
}

// foot is the last line: what the keys do, or what is wrong.
func (m *topModel) foot(lines, room int) string {
	text := "q quit · ↑↓ jk scroll · p hold · r read now"
	if m.held {
		text = "HELD · p go on · q quit · ↑↓ jk scroll"
	}
	if lines > room {
		text += fmt.Sprintf(" · lines %d–%d of %d", m.offset+1, min(lines, m.offset+room), lines)
	}
	style := dimStyle
	if m.err != nil {
		text, style = "cannot read: "+cell(m.err.Error(), 300), badStyle
	}
	text = ansi.Truncate(text, m.width, "…")
	if m.color {
		text = style.Render(text)
	}
	return text
}
