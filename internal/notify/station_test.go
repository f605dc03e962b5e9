package notify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// answer is how a service takes one message. The statuses are HTTP's; mail has its own for them.
type answer struct {
	status int // 0: it takes it
	after  string
	body   string
	hang   bool // until the test ends
}

// arrival is what a service has received.
type arrival struct {
	header http.Header
	path   string
	body   string
}

// station is a real service on loopback.
type station struct {
	address string
	roots   *x509.CertPool // of mail

	mu      sync.Mutex
	answers []answer
	got     []arrival
	over    chan struct{}
}

func newStation() *station { return &station{over: make(chan struct{})} }

func (s *station) answerWith(answers ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = answers
}

func (s *station) arrivals() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrival(nil), s.got...)
}

func (s *station) take(a arrival) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, a)
	if len(s.answers) == 0 {
		return answer{}
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	return next
}

// httpStation takes HTTP, and answers a success with a status and a body.
func httpStation(t *testing.T, status int, body string) *station {
	s := newStation()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		given := s.take(arrival{header: r.Header, path: r.URL.String(), body: string(text)})
		if given.hang {
			select {
			case <-s.over:
			case <-r.Context().Done():
			}
			return
		}
		if given.after != "" {
			w.Header().Set("Retry-After", given.after)
		}
		if given.status == 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return
		}
		w.WriteHeader(given.status)
		// A service that repeats what it was asked.
		_, _ = io.WriteString(w, given.body+r.URL.String()+" "+r.Header.Get("Authorization")+string(text))
	}))
	t.Cleanup(func() {
		close(s.over)
		server.Close()
	})
	s.address = server.URL
	return s
}

const (
	mailUser     = "towpath"
	mailPassword = "geheim+geheim/1234"
)

// mailStation is a server of mail that demands STARTTLS and a password.
func mailStation(t *testing.T, implicit bool) *station {
	s := newStation()
	certificate, roots := selfSigned(t)
	s.roots = roots
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{station: s}, nil }))
	server.Domain, server.EnableSMTPUTF8 = "localhost", true
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.ErrorLog = discardLog{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.address = "smtp://" + mailUser + ":geheim%2Bgeheim%2F1234@" + listener.Addr().String()
	if implicit {
		s.address = "smtps" + strings.TrimPrefix(s.address, "smtp")
		listener = tls.NewListener(listener, server.TLSConfig)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		close(s.over)
		listener.Close() // the server may not have begun yet
		_ = server.Close()
		<-ended
	})
	return s
}

type discardLog struct{}

func (discardLog) Printf(string, ...any) {}
func (discardLog) Println(...any)        {}

type mailSession struct {
	station *station
	known   bool
	to      string
}

func (*mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (m *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != mailUser || password != mailPassword {
			return &smtp.SMTPError{Code: 535, Message: "no such user " + user + " with " + password}
		}
		m.known = true
		return nil
	}), nil
}

func (m *mailSession) Mail(string, *smtp.MailOptions) error {
	if !m.known {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (m *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, Message: "no such mailbox"}
	}
	m.to = to
	return nil
}

func (m *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	given := m.station.take(arrival{path: m.to, body: string(text)})
	if given.hang {
		<-m.station.over
		return errors.New("gone")
	}
	switch {
	case given.status == 0:
		return nil
	case given.status == http.StatusTooManyRequests || given.status >= 500:
		return &smtp.SMTPError{Code: 451, Message: given.body + "try later"}
	default:
		return &smtp.SMTPError{Code: 554, Message: given.body + "no " + mailPassword}
	}
}

func (*mailSession) Reset()        {}
func (*mailSession) Logout() error { return nil }

// readMail reads a mail's subject and text.
func readMail(t *testing.T, a arrival) (mail.Header, string) {
	t.Helper()
	message, err := mail.ReadMessage(strings.NewReader(a.body))
	require.NoError(t, err)
	subject, err := new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject"))
	require.NoError(t, err)
	text, err := io.ReadAll(decoded(message))
	require.NoError(t, err)
	return message.Header, subject + "\n" + strings.ReplaceAll(string(text), "\r\n", "\n")
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
