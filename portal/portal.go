// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package portal is the gateway as plain net/http: the gate, which lets a
// request through to the site or not, and the portal, the endpoints under the
// prefix where visitors sign in and out and WeChat delivers its messages.
package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// DefaultPrefix is the path below which the portal's endpoints are.
const DefaultPrefix = "/_wechat"

// Config is all that a Portal needs.
type Config struct {
	// Title is what visitors see as the name of the site.
	Title string
	// Prefix begins the paths of the portal's endpoints.
	Prefix string
	// Origins are the site's own, such as "https://example.com": one for each
	// host by which it is reached. All have the same scheme. No link is built
	// from anything else.
	Origins []string
	// Offers are the ways to sign in, in the order shown.
	Offers []Offer
	// FrameOrigin is where WeChat's page in a frame comes from.
	FrameOrigin string
	// Selects says which requests need a session; nil means all.
	Selects func(*http.Request) bool
	// Optional lets requests without a session pass, without identity headers.
	Optional bool
	// Require are roles of which a user needs one; empty asks for none.
	Require []string
	// AdminRoles are roles of which the admin page asks for one; empty for no such page.
	AdminRoles []string
	// Headers are the identity headers; see DefaultHeaders.
	Headers []Header
	// Cookie names the session cookie, without a prefix; CookieDomain extends
	// it to the subdomains of a domain.
	Cookie, CookieDomain string

	Login    *login.Service
	Sessions *session.Manager
	Users    *user.Directory
	// People is what the admin page does with users.
	People *people.Service
	// Senders bring codes to the addresses that people are to prove.
	Senders map[user.Channel]sender.Sender
	// Unfollow says what happens to whoever unfollows the account.
	Unfollow user.Unfollow
	// Audit is told of what people do; nil for nobody.
	Audit audit.Recorder
	// Accounts are those whose pushes are accepted here, also for what was begun at
	// other sites, by app id.
	Accounts map[string]Account
	// Store keeps the answers to pushes, and is what healthz asks.
	Store store.Store
	// Limits bound what one client may do.
	Limits Limits

	// ClientAddr says from which address a request comes.
	ClientAddr func(*http.Request) netip.Addr
	// Original is the method and URL of a request before anything rewrote it.
	Original func(*http.Request) (method string, u *url.URL)
	Log      *zap.Logger
	// KeepOutOfLog is told of requests whose URL holds a secret, before they
	// are answered; nil where nobody logs URLs.
	KeepOutOfLog func(*http.Request)
	// Count is told of what is worth a metric.
	Count func(event, account, result string)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Offer is one way to sign in: a method, by an account.
type Offer struct{ Method, AppID string }

// Account is how the pushes of one account are read and answered.
type Account struct {
	// Receiver reads the pushes; nil for an account that gets none.
	Receiver *wechat.Receiver
	Replies  login.Replies
	// ChatCode says that people send codes as messages.
	ChatCode bool
	// Mini says who uses the mini program; nil for any other account.
	Mini MiniProgram
	// Messenger tells people in the chat of a new sign-in; nil where nobody is told.
	Messenger Messenger
	// Unions knows the unionids of those whose openid alone a push names; nil for an
	// account that gets none.
	Unions Unions
	// OAuth says who has authorized; nil where WeChat's pages are not used.
	OAuth OAuth
	// Proof returns WeChat's page by which the person who opens a link in the
	// chat is known to be the one who scanned; nil where that is not asked.
	Proof func(callback, state string) string
}

// Unions returns the unionid of somebody who has to do with an account, empty where
// WeChat gives none.
type Unions interface {
	// Rest says whether nobody is to be asked at that time.
	Rest(now time.Time) bool
	UnionID(ctx context.Context, openID string, now time.Time) (string, error)
}

// Messenger sends a text to somebody who has been in the chat with the account lately.
type Messenger interface {
	SendText(ctx context.Context, openID, text string) error
}

// Limits are rates for each client address.
type Limits struct {
	Attempts Rate // new attempts; a network has more
	Confirms Rate // links of the chat, and codes of a mini program, that lead nowhere
	Pushes   Rate // deliveries of WeChat's
	// Codes bound codes sent to an e-mail address or phone number, and wrong ones typed;
	// nil for no limit. A network has more.
	Codes *CodeLimits
}

// Portal serves one site.
type Portal struct {
	Config
	pages    *page.Pages
	scrubber scrubber
	cookies  cookies
	mux      *http.ServeMux
	hosts    map[string]string // origin by host name
	limits   limits
	anySite  *login.Service // as Login, also for attempts begun at other sites
	mini     *miniLimits
	codes    *user.Codes
	warnings *throttle
	troubles troubles
	checkup  checkup
	queues   queues
	messages *messages
	opening  singleflight.Group // of sessions, by attempt and browser

	closed    chan struct{}
	closeOnce sync.Once
}

// New returns a Portal, or what is wrong with its configuration.
func New(c Config) (*Portal, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Count == nil {
		c.Count = func(string, string, string) {}
	}
	if c.KeepOutOfLog == nil {
		c.KeepOutOfLog = func(*http.Request) {}
	}
	if c.Audit == nil {
		c.Audit = audit.Discard
	}
	hosts, err := originsByHost(c.Origins)
	if err != nil {
		return nil, err
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return nil, err
	}
	portals := make([]string, len(c.Origins))
	for i, origin := range c.Origins {
		portals[i] = origin + c.Prefix
	}
	p := &Portal{
		Config:   c,
		anySite:  c.Login,
		pages:    page.New(page.Site{Title: c.Title, Prefix: c.Prefix}),
		cookies:  newCookies(c.Cookie, c.CookieDomain, strings.HasPrefix(c.Origins[0], "https:")),
		hosts:    hosts,
		warnings: newThrottle(c.Now),
		messages: newMessages(),
		closed:   make(chan struct{}),
	}
	p.Login = c.Login.For(portals...)
	p.Headers = slices.Clone(c.Headers)
	for i := range p.Headers {
		p.Headers[i].Name = http.CanonicalHeaderKey(p.Headers[i].Name)
	}
	p.scrubber = newScrubber(p.cookies, c.Headers)
	p.limits = newLimits(c.Limits)
	p.mini = newMiniLimits(c.Limits.Confirms)
	p.codes = user.NewCodes(c.Store, func() time.Time { return p.Now() })
	p.mux = p.routes()
	return p, nil
}

// Close ends the event streams and long polls that are open, and what is on its way
// to people's chats. Browsers come back to whoever serves the site then; their
// attempts are in the store.
func (p *Portal) Close() {
	p.closeOnce.Do(func() {
		close(p.closed)
		p.messages.close()
	})
}

func originsByHost(origins []string) (map[string]string, error) {
	if len(origins) == 0 {
		return nil, errors.New("the site has no address of its own: set public_url")
	}
	hosts := make(map[string]string, len(origins))
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Scheme+"://"+u.Host != origin || !originHost(u) {
			return nil, fmt.Errorf("public_url %q is not an origin as browsers write it: write it like https://example.com, in lower case, without the usual port, and a Chinese name in its xn-- form", origin)
		}
		hosts[u.Hostname()] = origin
	}
	return hosts, nil
}

// originHost says whether the host and port are written as a browser writes them
// in the header Origin, with which they are compared.
func originHost(u *url.URL) bool {
	host, port := u.Hostname(), u.Port()
	usual := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if port == usual || strings.HasSuffix(u.Host, ":") {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String() == host
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	return strings.Trim(host, letters) == "" && strings.Trim(host, ".") == host && host != ""
}

func checkPrefix(prefix string) error {
	u, err := url.Parse(prefix)
	if err != nil || len(prefix) < 2 || u.EscapedPath() != prefix || u.Path != prefix || !canonical(prefix) || strings.HasSuffix(prefix, "/") {
		return fmt.Errorf("prefix %q cannot be used: write a plain path like %s", prefix, DefaultPrefix)
	}
	return nil
}

// origin is the site's own origin for a request. The Host header chooses among
// those that are configured and cannot add to them.
func (p *Portal) origin(r *http.Request) string {
	host := r.Host
	if u, err := url.Parse("//" + host); err == nil {
		host = u.Hostname()
	}
	if o, ok := p.hosts[strings.ToLower(host)]; ok {
		return o
	}
	return p.Origins[0]
}

// routes are the portal's endpoints.
func (p *Portal) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(method, path string, h http.HandlerFunc) {
		mux.HandleFunc(method+" "+p.Prefix+path, h)
	}
	handle("GET", "/login", p.loginPage)
	handle("GET", "/assets/{name}", p.asset)
	handle("POST", "/attempts", p.sameOrigin(p.beginAttempt))
	handle("GET", "/attempts/{id}", p.showAttempt)
	handle("GET", "/attempts/{id}/events", p.streamAttempt)
	handle("DELETE", "/attempts/{id}", p.sameOrigin(p.cancelAttempt))
	handle("POST", "/attempts/{id}/session", p.sameOrigin(p.openSession))
	handle("GET", "/me", p.me)
	handle("GET", "/admission/events", p.streamAdmission)
	handle("GET", "/logout", p.logoutPage)
	handle("POST", "/logout", p.sameOriginForm(p.logout))
	handle("GET", "/bind", p.bindPage)
	handle("GET", "/bind/code", p.bindPage) // after a sign-in that came in between
	handle("POST", "/bind/code", p.sameOriginForm(p.sendCode))
	handle("POST", "/bind", p.sameOriginForm(p.bind))
	handle("GET", "/name", p.namePage)
	handle("POST", "/name", p.sameOriginForm(p.rename))
	handle("GET", sessionsPath, p.sessionsPage)
	handle("POST", sessionsPath, p.sameOriginForm(p.endOwnSessions))
	if len(p.AdminRoles) > 0 {
		handle("GET", adminPath, p.asAdmin(p.adminPage))
		handle("GET", adminPath+"/users/{id}", p.asAdmin(p.adminUserPage))
		handle("POST", adminPath+"/users/{id}", p.sameOriginForm(p.asAdmin(p.adminAct)))
	}
	handle("GET", "/confirm/{token}", p.confirmPage)
	handle("POST", "/confirm/{token}", p.sameOriginForm(p.confirm))
	handle("GET", login.CallbackPath, p.oauthCallback)
	handle("GET", failedPath+"{reason}", p.oauthFailed)
	handle("POST", "/mini/{app_id}/scan", p.miniScan)
	handle("POST", "/mini/{app_id}/confirm", p.miniConfirm)
	handle("POST", "/mini/{app_id}/cancel", p.miniCancel)
	handle("GET", "/push/{app_id}", p.verifyPushURL)
	handle("POST", "/push/{app_id}", p.push)
	handle("GET", "/healthz", p.health)
	return mux
}

// endpoint says whether the request is for the portal, and not for the site.
func (p *Portal) endpoint(u *url.URL) bool {
	return strings.HasPrefix(u.Path, p.Prefix) && (len(u.Path) == len(p.Prefix) || u.Path[len(p.Prefix)] == '/')
}

// serveEndpoint answers a request for the portal. Only the one plain spelling of
// a path leads to an endpoint.
func (p *Portal) serveEndpoint(w http.ResponseWriter, r *http.Request, method string, u *url.URL, c credentials) {
	harden(w.Header())
	if p.secretURL(u) {
		p.KeepOutOfLog(r)
	}
	if u.RawPath != "" || !canonical(u.Path) {
		p.notFound(w, r)
		return
	}
	r = patient(r.WithContext(context.WithValue(r.Context(), credentialsKey{}, c)))
	r.Method, r.URL = method, u
	if _, pattern := p.mux.Handler(r); pattern == "" {
		p.unknownEndpoint(w, r)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// secretURL says whether the URL holds what no log may: a secret, or the address or
// name of somebody whom an admin looks for.
func (p *Portal) secretURL(u *url.URL) bool {
	path, _ := strings.CutPrefix(u.Path, p.Prefix)
	return strings.HasPrefix(path, "/confirm/") || strings.HasPrefix(path, login.CallbackPath) ||
		path == adminPath && u.Query().Get("q") != ""
}

// storePatience is how long one request waits for the store altogether.
const storePatience = time.Second

// patient returns the request with its whole patience for the store.
func patient(r *http.Request) *http.Request {
	return r.WithContext(store.WithPatience(r.Context(), storePatience))
}

// unknownEndpoint tells a wrong method from a wrong path.
func (p *Portal) unknownEndpoint(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := p.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		p.notFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", "this endpoint takes "+strings.Join(allowed, " and "))
}

func (p *Portal) notFound(w http.ResponseWriter, r *http.Request) {
	if isNavigation(r) {
		p.pages.Notice(w, r, http.StatusNotFound, page.NotFound)
		return
	}
	writeError(w, http.StatusNotFound, "not_found", "there is no such endpoint")
}

// credentialsKey is under which a request to the portal carries what scrub took out of it.
type credentialsKey struct{}

func credentialsOf(r *http.Request) credentials {
	c, _ := r.Context().Value(credentialsKey{}).(credentials)
	return c
}
