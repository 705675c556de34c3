// The Go client's program of `make test-sdks`; see tests/sdks/program.py for its commands.
//
// It is a client of grpc-go alone, without an SDK: the token, the messages on the wire, and recovery are all here.
package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	method      = "/databricks.zerobus.Zerobus/EphemeralStream"
	openTimeout = 15 * time.Second
	flushWait   = 40 * time.Second
	backoff     = 200 * time.Millisecond
	maxFailures = 600
)

// final lists the statuses after which another try is useless.
var final = []codes.Code{codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.OutOfRange,
	codes.Unimplemented, codes.NotFound}

var (
	errClosed  = errors.New("the stream is closed")
	errOffset  = errors.New("the server acknowledged a call that was not sent")
	errTimeout = errors.New("no answer in time")
	errNoEnd   = errors.New("the server ends every stream")
)

func isFinal(err error) bool {
	var answer *httpError
	if errors.As(err, &answer) {
		return answer.status < 500 && answer.status != http.StatusTooManyRequests
	}
	return errors.Is(err, errClosed) || errors.Is(err, errOffset) || slices.Contains(final, status.Code(err))
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	fmt.Println("ok")
	var open *stream
	for input.Scan() {
		answer, err := "", error(nil)
		switch words := strings.Split(input.Text(), " "); words[0] {
		case "open":
			if open != nil {
				open.abandon()
			}
			open, err = newStream(words[1:])
		case "send":
			answer, err = open.send(words[1:])
		case "wait":
			offset, _ := strconv.ParseInt(words[1], 10, 64)
			err = open.wait(func() bool { return open.acked > offset })
		case "flush":
			err = open.wait(func() bool { return len(open.pending) == 0 })
		case "close":
			err = open.close()
		}
		switch {
		case err == nil:
			fmt.Println(strings.TrimSpace("ok " + answer))
		case isFinal(err):
			fmt.Println("error final", strings.Join(strings.Fields(err.Error()), " "))
		default:
			fmt.Println("error retriable", strings.Join(strings.Fields(err.Error()), " "))
		}
	}
}

// stream keeps calls until they are acknowledged, and sends them again on another connection if need be.
type stream struct {
	endpoint, workspace, format, table, clientID, secret string
	patience                                             time.Duration
	descriptor                                           []byte

	mu       sync.Mutex
	changed  *sync.Cond
	pending  [][][]byte // the records of each call that is not acknowledged, in order
	acked    int64      // the number of acknowledged calls, so the offset of the first pending one
	sent     int64      // the number of calls that were sent, on this connection or acknowledged before it
	progress time.Time  // of the last acknowledgement, or when there was first something to wait for
	closing  bool
	ended    bool
	err      error
	context  context.Context
	abandon  context.CancelFunc
}

func newStream(words []string) (*stream, error) {
	patience, err := strconv.Atoi(words[6])
	if err != nil {
		return nil, err
	}
	descriptor := []byte(nil)
	if words[2] == "proto" {
		if descriptor, err = hex.DecodeString(words[7]); err != nil {
			return nil, err
		}
	}
	s := &stream{endpoint: words[0], workspace: words[1], format: words[2], table: words[3], clientID: words[4],
		secret: words[5], patience: time.Duration(patience) * time.Millisecond, descriptor: descriptor}
	s.changed = sync.NewCond(&s.mu)
	s.context, s.abandon = context.WithCancel(context.Background())
	opened := make(chan struct{})
	go s.run(sync.OnceFunc(func() { close(opened) }))
	<-opened
	s.mu.Lock()
	defer s.mu.Unlock()
	return s, s.err
}

func (s *stream) send(words []string) (string, error) {
	records := make([][]byte, len(words))
	for index, word := range words {
		record, err := hex.DecodeString(word)
		if err != nil {
			return "", err
		}
		records[index] = record
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return "", s.err
	}
	if s.closing {
		return "", errClosed
	}
	if len(s.pending) == 0 {
		s.progress = time.Now()
	}
	s.pending = append(s.pending, records)
	s.changed.Broadcast()
	return strconv.FormatInt(s.acked+int64(len(s.pending))-1, 10), nil
}

// wait blocks until done says so, the stream ends, or the time is over.
func (s *stream) wait(done func() bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline := time.Now().Add(flushWait)
	defer time.AfterFunc(flushWait, s.wake).Stop()
	for !done() {
		if s.err != nil {
			return s.err
		}
		if !time.Now().Before(deadline) {
			return errTimeout
		}
		s.changed.Wait()
	}
	return nil
}

func (s *stream) close() error {
	s.mu.Lock()
	s.closing = true
	s.changed.Broadcast()
	s.mu.Unlock()
	return s.wait(func() bool { return s.ended && s.err == nil })
}

// run connects again and again until the stream is closed or a failure is final.
func (s *stream) run(opened func()) {
	defer opened()
	for failures := 0; ; failures++ {
		before := s.acknowledged()
		err := s.connection(opened)
		if s.acknowledged() > before {
			failures = 0
		}
		s.mu.Lock()
		if err == nil && s.closing && len(s.pending) == 0 {
			s.ended = true // otherwise the server ended the stream, as it does to rotate it
		} else if isFinal(err) || failures >= maxFailures || s.context.Err() != nil {
			s.err = cmp.Or(err, errNoEnd)
		}
		over := s.ended || s.err != nil
		s.changed.Broadcast()
		s.mu.Unlock()
		if over {
			return
		}
		time.Sleep(backoff)
	}
}

func (s *stream) acknowledged() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// resume makes all pending calls be sent again; it returns the offset of the first.
func (s *stream) resume() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = s.acked
	s.progress = time.Now()
	return s.acked
}

// connection opens a stream at the server and serves it to its end.
func (s *stream) connection(opened func()) error {
	ctx, cancel := context.WithCancelCause(s.context)
	defer cancel(nil)
	opening := time.AfterFunc(openTimeout, func() { cancel(errTimeout) })
	defer opening.Stop()
	token, err := fetchToken(ctx, s)
	if err != nil {
		return err
	}
	server, err := url.Parse(s.endpoint)
	if err != nil {
		return err
	}
	security := insecure.NewCredentials()
	if server.Scheme == "https" {
		security = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}) // trusts $SSL_CERT_FILE
	}
	connection, err := grpc.NewClient(server.Host, grpc.WithTransportCredentials(security))
	if err != nil {
		return err
	}
	defer connection.Close()
	headers := metadata.Pairs("authorization", "Bearer "+token, "x-databricks-zerobus-table-name", s.table)
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	outgoing := metadata.NewOutgoingContext(ctx, headers)
	wire, err := connection.NewStream(outgoing, description, method, grpc.ForceCodec(bytesCodec{}))
	if err != nil {
		return err
	}
	if err = wire.SendMsg(createMessage(s.table, s.format, s.descriptor)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var answer []byte
	if err = wire.RecvMsg(&answer); err != nil {
		return err
	}
	opening.Stop()
	opened()
	base := s.resume()
	stopSending := make(chan struct{})
	stop := sync.OnceFunc(func() { close(stopSending); s.wake() })
	go s.write(wire, base, stopSending)
	go s.watch(ctx, cancel)
	err = s.read(wire, base, stop)
	stop()
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		return cause
	}
	return err
}

// write sends the pending calls and those that are added, until it is stopped or the stream is closed.
func (s *stream) write(wire grpc.ClientStream, base int64, stop <-chan struct{}) {
	for {
		s.mu.Lock()
		for s.sent == s.acked+int64(len(s.pending)) && !s.closing && !isClosed(stop) {
			s.changed.Wait()
		}
		if isClosed(stop) || s.sent == s.acked+int64(len(s.pending)) {
			s.mu.Unlock()
			_ = wire.CloseSend()
			return
		}
		message := callMessage(s.sent-base, s.format, s.pending[s.sent-s.acked])
		s.sent++
		s.mu.Unlock()
		if wire.SendMsg(message) != nil {
			return // the reader receives the reason
		}
	}
}

// read takes acknowledgements until the server ends the stream; on a close signal nothing more is sent.
func (s *stream) read(wire grpc.ClientStream, base int64, stop func()) error {
	for {
		var answer []byte
		if err := wire.RecvMsg(&answer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch kind, body := firstField(answer); kind {
		case 2:
			if err := s.acknowledge(base + acknowledgedOffset(body) + 1); err != nil {
				return err
			}
		case 3:
			stop()
		}
	}
}

func (s *stream) acknowledge(calls int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if calls > s.sent {
		return errOffset
	}
	if calls > s.acked {
		s.pending = s.pending[calls-s.acked:]
		s.acked = calls
		s.progress = time.Now()
		s.changed.Broadcast()
	}
	return nil
}

// watch ends the connection when an acknowledgement is missing for too long.
func (s *stream) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		s.mu.Lock()
		late := len(s.pending) > 0 && time.Since(s.progress) > s.patience
		if late {
			s.progress = time.Now()
		}
		s.mu.Unlock()
		if late {
			cancel(errTimeout)
		}
	}
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}
