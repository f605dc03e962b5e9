package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

const (
	// emailText is the length of a mail, in characters.
	emailText = 100_000
	// emailPatience bounds a conversation whose context has no deadline.
	emailPatience = 30 * time.Second
)

type emailNotifier struct {
	url     *url.URL
	from    string
	to      []string
	secrets secrets
	links   links
	tls     *tls.Config // nil but in tests
}

func newEmail(address, from string, to []string, l links) *emailNotifier {
	u, err := url.Parse(address)
	if err != nil { // the configuration was checked
		u = &url.URL{}
	}
	n := &emailNotifier{url: u, from: from, to: to, links: l}
	if password, has := u.User.Password(); has {
		n.secrets = append(secretAddress(address), secrets{password}.encoded(u.User.Username())...)
	}
	return n
}

func (n *emailNotifier) Name() string { return sortEmail }

// Send sends each recipient a mail of their own, so that one who is refused does not keep it from the others. It has the
// same Message-ID each time.
func (n *emailNotifier) Send(ctx context.Context, m Message) error {
	client, err := n.client(ctx)
	if err != nil {
		return n.failure(ctx, err)
	}
	mails := make([]*mail.Msg, len(n.to))
	for i, to := range n.to {
		if mails[i], err = n.mail(m, to); err != nil {
			return &Error{Reason: n.secrets.hide("e-mail cannot be written: " + err.Error()), Permanent: true}
		}
	}
	connection, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return n.failure(ctx, err)
	}
	err = client.SendWithSMTPClient(connection, mails...)
	_ = client.CloseWithSMTPClient(connection) // what was taken was taken
	if err == nil {
		return nil
	}
	permanent := true
	for _, one := range mails {
		var failed *mail.SendError
		if errors.As(one.SendError(), &failed) && failed.ErrorCode() < 500 {
			permanent = false
		} else if !one.IsDelivered() && !one.HasSendError() {
			permanent = false
		}
	}
	failure := n.failure(ctx, err)
	if own, ok := errors.AsType[*Error](failure); ok {
		own.Permanent = permanent
	}
	return failure
}

func (n *emailNotifier) client(ctx context.Context) (*mail.Client, error) {
	patience := emailPatience
	if deadline, has := ctx.Deadline(); has {
		patience = max(min(patience, time.Until(deadline)), time.Millisecond)
	}
	options := []mail.Option{mail.WithTimeout(patience), mail.WithTLSPolicy(mail.TLSMandatory)}
	port := 587
	switch {
	case n.url.Scheme == "smtps":
		port = 465
		options = append(options, mail.WithSSL())
	case n.url.RawQuery == "tls=off":
		port = 25
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	}
	if given, err := strconv.Atoi(n.url.Port()); err == nil {
		port = given
	}
	options = append(options, mail.WithPort(port))
	if password, has := n.url.User.Password(); has {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(n.url.User.Username()), mail.WithPassword(password))
	}
	if n.tls != nil {
		options = append(options, mail.WithTLSConfig(n.tls))
	}
	return mail.NewClient(n.url.Hostname(), options...)
}

func (n *emailNotifier) mail(m Message, to string) (*mail.Msg, error) {
	one := mail.NewMsg()
	if err := one.From(n.from); err != nil {
		return nil, err
	}
	if err := one.To(to); err != nil {
		return nil, err
	}
	domain := "towpath.invalid"
	if from, err := netmail.ParseAddress(n.from); err == nil {
		domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	one.Subject(cut(m.headline(), 200))
	one.SetMessageIDWithValue(m.id() + "@" + domain)
	one.SetDateWithValue(m.At)
	one.SetGenHeader("Auto-Submitted", "auto-generated")
	one.SetGenHeader("Towpath-Alert-Status", m.Status)
	one.SetBodyString(mail.TypeTextPlain, m.text(n.links, emailText))
	return one, nil
}

// failure words an error. One of the class of 500 in the conversation before a mail, such as a password that is refused,
// is permanent.
func (n *emailNotifier) failure(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	reason := err.Error()
	if ctx.Err() != nil || isTimeout(err) || strings.Contains(reason, os.ErrDeadlineExceeded.Error()) { // the library keeps the text alone
		reason = "no answer in time"
	}
	var reply *textproto.Error
	permanent := errors.As(err, &reply) && reply.Code >= 500
	reason = strings.Join(strings.Fields(n.secrets.hide(reason)), " ")
	return &Error{Reason: fmt.Sprintf("the mail server %s: %s", n.url.Host, reason), Permanent: permanent}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
