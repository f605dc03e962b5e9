package config

import (
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"
)

// Slack says which channels alerts are told to.
type Slack struct {
	WebhookURL Targets `split_words:"true" group:"Notifiers" secret:"all" desc:"Address of an incoming webhook of Slack, to which alerts are told; or several by name: ops=https://hooks.slack.com/…,data=https://hooks.slack.com/…."`
}

// PagerDuty says which services alerts are told to.
type PagerDuty struct {
	RoutingKey Targets `split_words:"true" group:"Notifiers" secret:"all" desc:"Integration key (Events API v2) of a service of PagerDuty, to which alerts are told; or several by name: ops=KEY,data=KEY."`
	URL        string  `default:"https://events.pagerduty.com" group:"Notifiers" desc:"Where PagerDuty takes events; https://events.eu.pagerduty.com for accounts in the EU."`
}

// Opsgenie says which teams alerts are told to.
type Opsgenie struct {
	APIKey Targets `split_words:"true" group:"Notifiers" secret:"all" desc:"Key of an API integration of Opsgenie, to which alerts are told; or several by name: ops=KEY,data=KEY."`
	Region string  `default:"us" group:"Notifiers" desc:"Where the account of Opsgenie is: us or eu."`
	URL    string  `group:"Notifiers" desc:"Address of Opsgenie's API, in place of the region's; https://api.atlassian.com/jsm/ops/integration for Jira Service Management."`
}

// SMTP says how alerts are sent by e-mail.
type SMTP struct {
	URL  string `group:"Notifiers" secret:"url" desc:"Server that sends alerts by e-mail: smtps://user:password@host:465, or smtp://user:password@host:587 for STARTTLS, without which nothing is sent unless ?tls=off is added."`
	From string `group:"Notifiers" desc:"Sender of e-mails, such as Towpath <towpath@example.com>."`
	To   Names  `group:"Notifiers" desc:"Recipients of e-mails, with commas between."`
}

// Webhook says which addresses alerts are posted to.
type Webhook struct {
	URL    Targets `group:"Notifiers" secret:"all" desc:"Address to which alerts are posted as JSON; or several by name: ops=https://…,data=https://…."`
	Secret Targets `group:"Notifiers" secret:"all" desc:"Key with which they are signed after the Standard Webhooks scheme: whsec_…, or several with | between so that one can replace the other; or by the names of TOWPATH_WEBHOOK_URL. Unsigned when unset."`
}

// Targets are addresses or keys of one service, which must not be shown, by name. The name of one that stands alone is "".
type Targets map[string]string

// Decode parses a value of the environment: one value, or name=value with commas between. Its errors hold no value.
func (t *Targets) Decode(value string) error {
	targets := Targets{}
	for part := range strings.SplitSeq(value, ",") {
		name, target, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || !secretName.MatchString(name) { // an address may have an equals sign in its query
			name, target = "", strings.TrimSpace(part)
		}
		target = strings.TrimSpace(target)
		switch _, twice := targets[name]; {
		case target == "":
			return fmt.Errorf("part %d is empty; write one value, or name=value with commas between", len(targets)+1)
		case twice && name == "":
			return errors.New("two values have no name; write name=value with commas between")
		case twice:
			return fmt.Errorf("%q is named twice; name it once", name)
		case strings.ContainsAny(target, "\r\n\x00 "):
			return fmt.Errorf("part %d holds a space or a line break; write one value, or name=value with commas between", len(targets)+1)
		}
		targets[name] = target
	}
	*t = targets
	return nil
}

// String tells the names alone, and that of one without.
func (t Targets) String() string {
	names := slices.Sorted(maps.Keys(t))
	if len(names) > 0 && names[0] == "" {
		names[0] = "(unnamed)"
	}
	return strings.Join(names, ",")
}

// PublicURL is where people reach a path of the HTTP server, "" when TOWPATH_URL is unset.
func (c *Config) PublicURL(path string) string {
	if c.URL == "" {
		return ""
	}
	return strings.TrimSuffix(c.URL, "/") + path
}

func (c *Config) validateNotifiers() error {
	errs := []error{
		validateTargets("TOWPATH_SLACK_WEBHOOK_URL", c.Slack.WebhookURL, "https://hooks.slack.com/services/…"),
		validateTargets("TOWPATH_WEBHOOK_URL", c.Webhook.URL, "https://example.com/alerts"),
		validateEndpoint("TOWPATH_PAGERDUTY_URL", c.PagerDuty.URL, "https://events.pagerduty.com"),
		validateEndpoint("TOWPATH_OPSGENIE_URL", c.Opsgenie.URL, "https://api.opsgenie.com"),
		c.validateSMTP(),
	}
	if region := c.Opsgenie.Region; region != "" && region != "us" && region != "eu" {
		errs = append(errs, &Error{"TOWPATH_OPSGENIE_REGION", region, "no such region; set us or eu"})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Webhook.Secret)) {
		var keys Keys
		if err := keys.Decode("key=" + c.Webhook.Secret[name]); err != nil {
			errs = append(errs, &Error{"TOWPATH_WEBHOOK_SECRET", "", "a value is not whsec_ followed by base64 of 24 to 64 bytes; make one with: echo whsec_$(head -c 32 /dev/urandom | base64)"})
		}
		if _, known := c.Webhook.URL[name]; !known && name != "" {
			errs = append(errs, &Error{"TOWPATH_WEBHOOK_SECRET", "", fmt.Sprintf("%q is no name of TOWPATH_WEBHOOK_URL; take it out, or name an address so", name)})
		}
	}
	return errors.Join(errs...)
}

func validateTargets(variable string, targets Targets, example string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		if validateEndpoint("", targets[name], "") != nil {
			which := "the value"
			if name != "" {
				which = fmt.Sprintf("the value of %q", name)
			}
			errs = append(errs, &Error{variable, "", which + " is not an http or https address; write " + example})
		}
	}
	return errors.Join(errs...)
}

func validateEndpoint(variable, value, example string) error {
	if value == "" {
		return nil
	}
	if u, err := url.Parse(value); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return &Error{variable, "", "not an http or https address; write " + example}
	}
	return nil
}

func (c *Config) validateSMTP() error {
	if c.SMTP.URL == "" {
		return nil
	}
	var errs []error
	u, err := url.Parse(c.SMTP.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" ||
		(u.RawQuery != "" && u.RawQuery != "tls=off") || u.Scheme == "smtps" && u.RawQuery != "" {
		errs = append(errs, &Error{"TOWPATH_SMTP_URL", "", "not an address of a mail server; write smtps://user:password@host:465, or smtp://host:587, with special characters of a password as %XX"})
	}
	if _, err := mail.ParseAddress(c.SMTP.From); err != nil {
		errs = append(errs, &Error{"TOWPATH_SMTP_FROM", c.SMTP.From, "not an e-mail address, which TOWPATH_SMTP_URL needs; write towpath@example.com"})
	}
	if len(c.SMTP.To) == 0 {
		errs = append(errs, &Error{"TOWPATH_SMTP_TO", "", "not set, and TOWPATH_SMTP_URL needs it; write the recipients' addresses with commas between"})
	}
	for _, to := range c.SMTP.To {
		if _, err := mail.ParseAddress(to); err != nil {
			errs = append(errs, &Error{"TOWPATH_SMTP_TO", to, "not an e-mail address; write ops@example.com"})
		}
	}
	return errors.Join(errs...)
}
