package monitor_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/monitor/assets"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

const installPrometheus = "install Debian's prometheus and prometheus-alertmanager"

// The rules hold, and do what their cases say.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool := program(t, "promtool", installPrometheus)
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yaml")
	require.NoError(t, os.WriteFile(rules, assets.Rules(), 0o600))
	cases, err := os.ReadFile("assets/rules.test.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.test.yaml"), cases, 0o600))
	require.Contains(t, run(t, promtool, "check", "rules", "--lint-fatal", rules), "SUCCESS")
	require.Contains(t, run(t, promtool, "test", "rules", filepath.Join(dir, "rules.test.yaml")), "SUCCESS")
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(assets.Rules()), -1) {
		require.Contains(t, string(cases), "alertname: "+alert[1], "a case for each alert")
	}
}

// The configuration of compose.yaml holds.
func TestComposeConfiguration(t *testing.T) {
	t.Parallel()
	promtool, amtool := program(t, "promtool", installPrometheus), program(t, "amtool", installPrometheus)
	run(t, amtool, "check-config", "assets/compose/alertmanager.yaml")
	config, err := os.ReadFile("assets/compose/prometheus.yaml")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), assets.Rules(), 0o600))
	mounted := strings.ReplaceAll(string(config), "/etc/prometheus/towpath/", dir+"/")
	require.NotEqual(t, string(config), mounted, "it names the rules")
	file := filepath.Join(dir, "prometheus.yaml")
	require.NoError(t, os.WriteFile(file, []byte(mounted), 0o600))
	run(t, promtool, "check", "config", file)
}

// startPrometheus runs a real Prometheus that scrapes addresses with some rules, and returns its API.
func startPrometheus(t *testing.T, rules, alertmanager string, scraped ...string) promAPI {
	t.Helper()
	binary := program(t, "prometheus", installPrometheus)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600))
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n" +
		"scrape_configs: [{job_name: towpath, static_configs: [{targets: ['" + strings.Join(scraped, "', '") + "']}]}]\n"
	if alertmanager != "" {
		config += "alerting: {alertmanagers: [{static_configs: [{targets: ['" + alertmanager + "']}]}]}\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(config), 0o600))
	address := freeAddress(t)
	serve(t, dir, binary, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address="+address, "--log.level=warn")
	return promAPI("http://" + address)
}

// promAPI is the address of a Prometheus.
type promAPI string

// sample is one series of an answer.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// query asks for the present, and returns what Prometheus has against the question.
func (p promAPI) query(t *testing.T, expr string) ([]sample, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(p)+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	require.NoError(t, err)
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		return nil, err // it starts
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	return answer.Data.Result, nil
}

// await waits until a query returns series.
func (p promAPI) await(t *testing.T, expr string) []sample {
	t.Helper()
	var (
		found []sample
		err   error
	)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		if found, err = p.query(t, expr); err == nil && len(found) > 0 {
			return found
		}
	}
	require.Fail(t, "a query returns nothing", "%s: %v", expr, err)
	return nil
}

// panel is what the tests look at of a Grafana panel.
type panel struct {
	ID      int
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ Expr string }
}

type dashboard struct {
	UID, Title string
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	for _, name := range assets.Dashboards() {
		text, err := assets.Dashboard(name)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(text, &d))
		require.Equal(t, "towpath-"+name, d.UID)
		all[name] = d
	}
	return all
}

func TestDashboardsAreWhole(t *testing.T) {
	t.Parallel()
	for name, d := range dashboards(t) {
		require.NotEmpty(t, d.Panels, name)
		taken, cells := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			require.False(t, taken[p.ID], "%s: two panels have the id %d", name, p.ID)
			taken[p.ID] = true
			require.NotEmpty(t, p.Targets, "%s: %s", name, p.Title)
			require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s: %s", name, p.Title)
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					require.Empty(t, cells[cell], "%s: %s lies over another panel", name, p.Title)
					cells[cell] = p.Title
				}
			}
		}
	}
	_, err := assets.Dashboard("nothing")
	require.ErrorContains(t, err, `dashboard "nothing" does not exist; there are fleet, kinds`)
}

// fill puts values into the variables of Grafana.
var fill = strings.NewReplacer("$__rate_interval", "15s", "$__range", "5m", "$queue", ".*", "$kind", ".*", "$schedule", ".*", "$probe", ".*")

// Every query of every panel, and of every variable, returns series from a real Prometheus that scrapes a real Towpath.
func TestEveryPanelShowsSomething(t *testing.T) {
	t.Parallel()
	program(t, "prometheus", installPrometheus)
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString(), "only")
	a := start(t, cfg, app.API, app.Scheduler, app.Worker)
	busy(t, pool)
	_, err := pool.Exec(t.Context(), `SELECT towpath.put_schedule('often', kind => 'never', expression => '@every 1s')`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `SELECT towpath.put_probe('queues', 'SELECT queue, available FROM towpath.queues', '1 second')`)
	require.NoError(t, err)
	prom := startPrometheus(t, string(assets.Rules()), "", a.Address())
	prom.await(t, `towpath:job_events:rate5m{kind="task.run"} > 0`)
	var all sync.WaitGroup
	defer all.Wait()
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				found := prom.await(t, fill.Replace(target.Expr))
				require.NotEmpty(t, found, "%s: %s", name, p.Title)
			}
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			metric, label, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")"), ", ")
			require.True(t, ok, v.Definition)
			require.NotEmpty(t, prom.await(t, metric)[0].Metric[label], "%s: the variable %s", name, v.Name)
		}
	}
}

// busy enqueues jobs of all ends until the test is over.
func busy(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	ctx := t.Context()
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			how := []string{"", "", "", "fail", "snooze", "cancel"}[i%6]
			_, _ = client.Insert(ctx, taskArgs{how}, nil) // the end of the test ends it as well
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// The alerts of the rules come through a real Alertmanager, routed as compose.yaml has it, to a receiver.
func TestAlertsReachAReceiver(t *testing.T) {
	t.Parallel()
	binary := program(t, "prometheus-alertmanager", installPrometheus)
	received := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct {
			Receiver, Status string
			Alerts           []struct {
				Labels, Annotations map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Error(err)
		}
		for _, alert := range message.Alerts {
			received <- strings.Join([]string{r.URL.Path, message.Receiver, message.Status, alert.Labels["alertname"], alert.Annotations["summary"]}, "|")
		}
	}))
	t.Cleanup(receiver.Close)

	config, err := os.ReadFile("assets/compose/alertmanager.yaml")
	require.NoError(t, err)
	text := strings.NewReplacer("group_wait: 10s", "group_wait: 1s", "group_interval: 1m", "group_interval: 1s").Replace(string(config))
	for _, name := range []string{"chat", "pager"} {
		with := "- name: " + name + "\n    webhook_configs: [{url: '" + receiver.URL + "/" + name + "', send_resolved: true}]"
		require.Contains(t, text, "- name: "+name)
		text = strings.Replace(text, "- name: "+name, with, 1)
	}
	dir, address := t.TempDir(), freeAddress(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alertmanager.yaml"), []byte(text), 0o600))
	serve(t, dir, binary, "--config.file=alertmanager.yaml", "--storage.path=data", "--web.listen-address="+address,
		"--cluster.listen-address=", "--log.level=warn")

	pool := testdb.Pool(t)
	url := pool.Config().ConnString()
	a := start(t, configure(t, url, "api"), app.API) // and nobody leads
	_, err = pool.Exec(t.Context(), `SELECT towpath.enqueue('task.run', queue => 'lost');
		UPDATE towpath.river_job SET scheduled_at = now() - interval '1 hour'`)
	require.NoError(t, err)
	// As they are, but without waiting.
	startPrometheus(t, regexp.MustCompile(`for: \w+`).ReplaceAllString(string(assets.Rules()), "for: 0s"), address, a.Address())
	awaitAll(t, received, "/chat|chat|firing|TowpathQueueOld|Jobs wait in queue lost", "/pager|pager|firing|TowpathNoLeader|Towpath has no leader")

	leading := configure(t, url, "leader")
	leading.Queues = map[string]int{"lost": 1}
	leader := start(t, leading, app.Scheduler, app.Worker)
	_ = leader
	awaitAll(t, received, "/chat|chat|resolved|TowpathQueueOld|Jobs wait in queue lost")
}

// awaitAll waits until everything that is wanted has been received.
func awaitAll(t *testing.T, received <-chan string, want ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, w := range want {
		missing[w] = true
	}
	timeout := time.After(patience)
	for len(missing) > 0 {
		select {
		case got := <-received:
			delete(missing, got)
		case <-timeout:
			require.Fail(t, "alerts are missing", "%v", missing)
		}
	}
}
