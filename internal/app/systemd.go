package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// A systemd that started the process with Type=notify is told when it works, that it lives, and when it ends. Nobody
// else sets NOTIFY_SOCKET, and then nobody is told.

// migrationPatience is what a migration that makes progress asks for beyond the time of a start.
const migrationPatience = 2 * time.Minute

// tell sends a state to systemd. That it does not get through is logged once, since systemd will act upon it.
func (a *App) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.deafOnce.Do(func() {
			a.logger.Warn("systemd cannot be told how this process is", slog.String("state", state), slog.Any("error", err))
		})
	}
}

// tellReady says that the process works, and from then on that it lives, twice as often as systemd wants to hear it.
func (a *App) tellReady() {
	a.tell(daemon.SdNotifyReady + "\nSTATUS=Roles " + a.roleNames())
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.watchdog(ctx, every/2)
	}()
	a.onStop(func() error {
		cancel()
		<-done
		return nil
	})
}

// watchdog gives signs of life for as long as the process answers as a prober would ask it. What the database does is
// no reason to restart a process, and is not looked at.
func (a *App) watchdog(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := a.answers(ctx, every); err == nil {
			a.tell(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			a.logger.WarnContext(ctx, "the process does not answer itself, and systemd gets no sign of life", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// answers asks the process's own health over HTTP, when it serves any.
func (a *App) answers(ctx context.Context, limit time.Duration) error {
	if a.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.server.address()+"/healthz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /healthz: %s", response.Status)
	}
	return nil
}
