// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The endpoints that a Server simulates, as [Server.Fail] and [Server.Calls] name them.
const (
	EndpointToken       = "/cgi-bin/token"        //nolint:gosec // a path, not a credential
	EndpointStableToken = "/cgi-bin/stable_token" //nolint:gosec // a path, not a credential
	EndpointQRCode      = "/cgi-bin/qrcode/create"
	EndpointShowQRCode  = "/cgi-bin/showqrcode"
	EndpointClearQuota  = "/cgi-bin/clear_quota"
	EndpointAPIDomainIP = "/cgi-bin/get_api_domain_ip"
	EndpointCallbackIP  = "/cgi-bin/getcallbackip"
	EndpointMessage     = "/cgi-bin/message/custom/send"
)

const (
	weixinBase = "http://weixin.qq.com"
	maxBody    = 1 << 20
)

// ErrClosed is returned by everything that would push after [Server.Close].
var ErrClosed = errors.New("the simulated WeChat server is closed")

// Options configure a [Server]. The zero value behaves like WeChat.
type Options struct {
	// Now is the clock of tokens, codes and events. Default: time.Now.
	Now func() time.Time
	// PushTimeout is how long one push may take. Default: 5s.
	PushTimeout time.Duration
	// PushAttempts is how often one event is delivered in all. WeChat's text,
	// "3 retries in total", can also be read as 1+3. Default: 3.
	PushAttempts int
	// PushSpacing is the time from the start of one delivery of an event to the
	// start of the next. Negative: at once. Default: 5s.
	PushSpacing time.Duration
	// IdenticalRetries repeats an event byte for byte. By default each delivery
	// has its own timestamp and nonce; WeChat documents neither.
	IdenticalRetries bool
	// UnsplitCDATA leaves "]]>" in a person's text as it is when the text is pushed
	// as XML, so that it ends the field: some reports say that WeChat does. By
	// default the text is divided there.
	UnsplitCDATA bool
	// HTTPClient makes the pushes and is behind [Phone.Browser]. Its redirect
	// policy, cookie jar and timeout are not used. Default: one of the Server's own.
	HTTPClient *http.Client
	// QRBase replaces http://weixin.qq.com in the url of a QR code, so that a
	// real camera opens this Server. Default: http://weixin.qq.com.
	QRBase string
	// Refusal is what happens in the browser when a person refuses to sign in
	// to a website or inside WeChat. Default: [RefusalStays].
	Refusal Refusal
	// AnyBrowser takes any browser for WeChat's own, so that a demo's phone can be
	// a browser's tab.
	AnyBrowser bool
	// Webviews are for such a phone, too, as a tab cannot change its user agent: by
	// the origin of a site, the origin where the same site sees that of WeChat's
	// browser. The links on the phone's page lead there.
	Webviews map[string]string
	// Sites are addresses that the phone's page offers to open inside WeChat.
	Sites []string
}

// Server simulates api.weixin.qq.com, mp.weixin.qq.com, open.weixin.qq.com and
// the links inside QR codes on one [http.Handler]. Create it with [NewServer]. It is safe for
// concurrent use.
type Server struct {
	opts      Options
	mux       *http.ServeMux
	transport http.RoundTripper
	ctx       context.Context
	cancel    context.CancelFunc
	pushes    sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	version  int // counts what the phone's page shows
	accounts map[string]*account
	tokens   map[string]*issuedToken
	codes    map[string]*qrCode // by the last part of the url
	tickets  map[string]*qrCode
	purgedAt time.Time
	people   map[string]*Phone
	failures map[string][]*injected
	calls    map[string]int
	log      []LogEntry
	oauth    oauthState
	mini     miniState
}

// NewServer returns a Server without accounts. Close it at the end.
func NewServer(opts Options) *Server {
	s := &Server{
		opts:     opts.withDefaults(),
		accounts: map[string]*account{},
		tokens:   map[string]*issuedToken{},
		codes:    map[string]*qrCode{},
		tickets:  map[string]*qrCode{},
		people:   map[string]*Phone{},
		failures: map[string][]*injected{},
		calls:    map[string]int{},
		oauth:    newOAuthState(),
		mini:     newMiniState(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.transport = s.opts.HTTPClient.Transport
	s.mux = s.routes()
	return s
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{}
	}
	client := *o.HTTPClient
	if client.Transport == nil {
		client.Transport = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	}
	o.HTTPClient = &client
	o.PushTimeout = cmp.Or(o.PushTimeout, 5*time.Second)
	o.PushAttempts = cmp.Or(o.PushAttempts, 3)
	o.PushSpacing = cmp.Or(o.PushSpacing, 5*time.Second)
	o.QRBase = strings.TrimSuffix(cmp.Or(o.QRBase, weixinBase), "/")
	return o
}

// Close ends the deliveries under way, waits for them, and closes idle connections.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.pushes.Wait()
	s.opts.HTTPClient.CloseIdleConnections()
}

// ServeHTTP answers WeChat's API, the links inside QR codes (/q/…), and the
// web page of a phone (/phone/).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for endpoint, answer := range map[string]apiFunc{
		EndpointToken:       byGet(s.token),
		EndpointStableToken: byPost(s.stableToken),
		EndpointQRCode:      byPost(s.createQRCode),
		EndpointClearQuota:  byPost(s.clearQuota),
		EndpointAPIDomainIP: s.ipList,
		EndpointCallbackIP:  s.ipList,
		EndpointMessage:     byPost(s.sendMessage),
		EndpointSubscriber:  byGet(s.subscriber),
	} {
		mux.Handle(endpoint, s.endpoint(endpoint, jsonHandler(answer)))
	}
	mux.Handle(EndpointShowQRCode, s.endpoint(EndpointShowQRCode, s.showQRCode))
	s.routePhone(mux)
	s.routeOAuth(mux)
	s.routeMini(mux)
	return mux
}

// call is one request to the API.
type call struct {
	*http.Request
	query func(string) string
	body  []byte
	now   time.Time
}

// apiFunc answers a call with a value to be encoded as JSON.
type apiFunc func(call) any

func byGet(answer apiFunc) apiFunc {
	return onlyBy(http.MethodGet, apiError{43001, "require GET method"}, answer)
}

func byPost(answer apiFunc) apiFunc {
	return onlyBy(http.MethodPost, apiError{43002, "require POST method"}, answer)
}

func onlyBy(method string, otherwise apiError, answer apiFunc) apiFunc {
	return func(c call) any {
		if c.Method != method {
			return otherwise
		}
		return answer(c)
	}
}

// apiError is WeChat's failure body. Its HTTP status is 200 all the same.
type apiError struct {
	ErrCode int    `json:"errcode"`
	ErrMsg  string `json:"errmsg"`
}

// Calls returns how many requests an endpoint, such as "/cgi-bin/stable_token",
// has had in all, failed ones included. [AccountHandle.Calls] counts for one account.
func (s *Server) Calls(endpoint string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[endpoint]
}

// endpoint reads and counts the request, then lets an injected failure or next answer.
func (s *Server) endpoint(name string, next func(http.ResponseWriter, call)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "reading the request failed", http.StatusRequestEntityTooLarge)
			return
		}
		c := call{Request: r, query: r.URL.Query().Get, body: body, now: s.opts.Now()}
		s.count(name, c)
		answer := func(w http.ResponseWriter) { next(w, c) }
		if f, ok := s.takeFailure(name); ok {
			s.inject(w, c, f, answer)
			return
		}
		answer(w)
	})
}

func (s *Server) count(endpoint string, c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[endpoint]++
	if app := s.accounts[s.callerLocked(c)]; app != nil {
		app.calls[endpoint]++
	}
}

// callerLocked finds the app id of a request by whatever names it.
func (s *Server) callerLocked(c call) string {
	if id := c.query("appid"); id != "" {
		return id
	}
	if t := s.tokens[c.query("access_token")]; t != nil {
		return t.appID
	}
	if t := s.oauth.tokens[c.query("access_token")]; t != nil {
		return t.appID
	}
	var body struct {
		AppID string `json:"appid"`
	}
	_ = json.Unmarshal(c.body, &body) // a body of another form names no account
	return body.AppID
}

func jsonHandler(answer apiFunc) func(http.ResponseWriter, call) {
	return func(w http.ResponseWriter, c call) {
		v := answer(c)
		if e, ok := v.(apiError); ok && e.ErrCode != 0 {
			e.ErrMsg += ridTail(c.now)
			v = e
		}
		writeJSON(w, v)
	}
}

// writeJSON answers 200 whatever the errcode: clients have to read the body.
func writeJSON(w http.ResponseWriter, v any) {
	body, encoded := v.(rawAnswer)
	if !encoded {
		body = encodeJSON(v)
	}
	w.Header().Set("Content-Type", "application/json; encoding=utf-8")
	_, _ = w.Write(body) // the client is gone if this fails
}

func encodeJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // only this package's own plain structs get here
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
