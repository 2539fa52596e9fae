// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler puts WeChat login in front of a site: requests that it guards pass
// only with a session, and reach the site with `X-User-*` headers that nobody
// else can set. It also serves the login page and its endpoints under the prefix.
type Handler struct {
	// Which requests need a session. The others pass too, without identity
	// headers, whatever the client sent. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// What visitors see as the name of the site. Default: its host.
	Title string `json:"title,omitempty"`

	// The path below which the login page and its endpoints are.
	// Default: `/_wechat`.
	Prefix string `json:"prefix,omitempty"`

	// The origin by which visitors reach the site, such as `https://example.com`.
	// Default: the site's own address; needed where that names no host, or
	// where TLS ends before Caddy.
	PublicURL string `json:"public_url,omitempty"`

	// The login methods, in the order shown. Default: all that the accounts allow.
	Methods []string `json:"methods,omitempty"`

	// The app ids of the accounts of this site: nobody signs in here by another.
	// Message pushes of all accounts are taken. Default: all.
	Accounts []string `json:"accounts,omitempty"`

	// Whether requests without a session pass, without identity headers.
	// Default: false.
	Optional bool `json:"optional,omitempty"`

	// The roles of which a person needs one to enter. Default: none is needed.
	RequireRoles []string `json:"require_roles,omitempty"`

	// The roles of which a person needs one to see the admin page, `/_wechat/admin`,
	// with which people are let in and shown out. Default: there is no such page.
	AdminRoles []string `json:"admin_roles,omitempty"`

	// The identity headers. Default: `X-User-Id` and its like.
	Headers []portal.Header `json:"headers,omitempty"`

	// Whether no identity headers are set. Default: false.
	HeadersOff bool `json:"headers_off,omitempty"`

	// Where the directive stands in the Caddyfile. Set by the Caddyfile adapter.
	Source string `json:"source,omitempty"`

	portal *portal.Portal
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wechat_auth", New: func() caddy.Module { return new(Handler) }}
}

// Provision prepares the gate and the portal.
func (h *Handler) Provision(ctx caddy.Context) error {
	mod, err := ctx.AppIfConfigured("wechat")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return at(h.Source, errors.New("wechat_auth needs the WeChat accounts: add a wechat { … } block to the global options"))
	}
	if err != nil {
		return err // it says where in the global options
	}
	app, ok := mod.(*App)
	if !ok {
		return at(h.Source, fmt.Errorf("the wechat app is a %T", mod))
	}
	if err := h.provision(ctx, app); err != nil {
		return at(h.Source, err)
	}
	return nil
}

func (h *Handler) provision(ctx caddy.Context, app *App) error {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	config, err := h.portalConfig(ctx, app, server)
	if err != nil {
		return err
	}
	if h.portal, err = portal.New(config); err != nil {
		return err
	}
	warnPlainHTTP(ctx.Logger(), config.Origins)
	if server != nil {
		// Streams must end before the server waits for them, on a reload and
		// on exit; Cleanup comes too late for that.
		server.RegisterOnShutdown(h.portal.Close)
	}
	return nil
}

func (h *Handler) portalConfig(ctx caddy.Context, app *App, server *caddyhttp.Server) (portal.Config, error) {
	c := portal.Config{
		Prefix:   cmp.Or(h.Prefix, portal.DefaultPrefix),
		Optional: h.Optional, Require: h.RequireRoles, AdminRoles: h.AdminRoles,
		Cookie: app.Session.Cookie, CookieDomain: app.Session.Domain,
		Login: app.login, Sessions: app.sessions, Users: app.users, People: app.people, Audit: app.auditor.record,
		Senders: app.senders, Unfollow: app.Users.Unfollow,
		Accounts: h.accounts(app), Store: app.backend.store, Limits: app.limits,
		ClientAddr: clientAddr, Original: original,
		Log: ctx.Logger(), KeepOutOfLog: keepOutOfLog, Count: count,
	}
	var err error
	if c.Origins, err = h.origins(server); err != nil {
		return c, err
	}
	if err := checkDomain(app.Session.Domain, c.Origins); err != nil {
		return c, err
	}
	c.Title = cmp.Or(h.Title, hostOf(c.Origins[0]))
	if c.Offers, err = h.offers(app); err != nil {
		return c, err
	}
	c.FrameOrigin = originOf(cmp.Or(app.OpenURL, wechat.DefaultOpenURL))
	if c.Headers, err = h.headers(); err != nil {
		return c, err
	}
	if err := errors.Join(checkRoles(h.RequireRoles), checkRoles(h.AdminRoles)); err != nil {
		return c, fmt.Errorf("role: %w", err)
	}
	c.Selects, err = h.selects(ctx)
	return c, err
}

// selects returns the matcher of guarded requests, nil for all.
func (h *Handler) selects(ctx caddy.Context) (func(*http.Request) bool, error) {
	if len(h.MatcherSetsRaw) == 0 {
		return nil, nil //nolint:nilnil // all requests
	}
	raw, err := ctx.LoadModule(h, "MatcherSetsRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the matcher: %w", err)
	}
	var sets caddyhttp.MatcherSets
	if err := sets.FromInterface(raw); err != nil {
		return nil, fmt.Errorf("loading the matcher: %w", err)
	}
	return func(r *http.Request) bool {
		match, err := sets.AnyMatchWithError(r)
		return match || err != nil // what cannot be judged is guarded
	}, nil
}

// offers returns the ways to sign in at this site.
func (h *Handler) offers(app *App) ([]portal.Offer, error) {
	for _, appID := range h.Accounts {
		if !app.has(appID) {
			return nil, fmt.Errorf("accounts: %s is not among the configured accounts: add a block for it to the global options, or take it out", appID)
		}
	}
	methods := h.Methods
	if len(methods) == 0 {
		methods = login.Methods
	}
	var offers []portal.Offer
	for i, method := range methods {
		if !slices.Contains(login.Methods, method) {
			return nil, fmt.Errorf("methods: %q is unknown: use %s", method, strings.Join(login.Methods, ", "))
		}
		if slices.Contains(methods[:i], method) {
			return nil, fmt.Errorf("methods: %s stands twice", method)
		}
		// One account is enough: that which is configured first.
		first := slices.IndexFunc(app.offers, func(o portal.Offer) bool {
			return o.Method == method && (len(h.Accounts) == 0 || slices.Contains(h.Accounts, o.AppID))
		})
		switch {
		case first >= 0:
			offers = append(offers, app.offers[first])
		case len(h.Methods) > 0:
			return nil, fmt.Errorf("methods: %s has no account: %s", method, methodNeeds[method])
		}
	}
	if len(offers) == 0 {
		return nil, errors.New("accounts: those of this site allow no method")
	}
	return offers, nil
}

// accounts returns the accounts as this site uses them. Pushes of all are taken:
// WeChat knows one push URL of an account, which may be that of another site.
func (h *Handler) accounts(app *App) map[string]portal.Account {
	accounts := maps.Clone(app.accounts)
	for appID, account := range accounts {
		if len(h.Accounts) > 0 && !slices.Contains(h.Accounts, appID) {
			account.Mini, account.OAuth = nil, nil
			accounts[appID] = account
		}
	}
	return accounts
}

// methodNeeds says what allows a method.
var methodNeeds = map[string]string{
	login.OfficialQR: "it needs an official_account",
	login.MiniQR:     "it needs a mini_program",
	login.WebsiteQR:  "it needs a website",
	login.InWeChat:   "it needs an official_account with web_oauth snsapi_base or snsapi_userinfo",
	login.ChatCode:   "it needs an official_account with chat_code on and a qr_image",
}

func checkRoles(roles []string) error {
	for i, role := range roles {
		if err := user.ValidateRole(role); err != nil {
			return err
		}
		if slices.Contains(roles[:i], role) {
			return fmt.Errorf("%s stands twice: keep one", role)
		}
	}
	return nil
}

// headers returns the identity headers, or what is wrong with them.
func (h *Handler) headers() ([]portal.Header, error) {
	if h.HeadersOff {
		return nil, nil
	}
	if len(h.Headers) == 0 {
		return portal.DefaultHeaders(), nil
	}
	names := make(map[string]bool, len(h.Headers))
	for _, header := range h.Headers {
		folded := strings.ToLower(header.Name)
		if err := checkHeader(header); err != nil {
			return nil, err
		}
		if names[folded] {
			return nil, fmt.Errorf("headers: %s stands twice", header.Name)
		}
		names[folded] = true
	}
	return h.Headers, nil
}

func checkHeader(header portal.Header) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	if header.Name == "" || strings.Trim(header.Name, letters) != "" {
		return fmt.Errorf("headers: %q cannot be used: write letters, digits and hyphens; servers disagree on everything else", header.Name)
	}
	if isReserved(strings.ToLower(header.Name)) {
		return fmt.Errorf("headers: %s has a meaning of its own in HTTP: use another name", header.Name)
	}
	if !slices.Contains(portal.Fields, header.Field) {
		return fmt.Errorf("headers: field %q of %s is unknown: use %s", header.Field, header.Name, strings.Join(portal.Fields, ", "))
	}
	return nil
}

// isReserved says whether a header cannot carry an identity, because taking it
// out of every request would break HTTP itself, or this gateway.
func isReserved(name string) bool {
	return slices.Contains(reservedHeaders, name) ||
		slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

var (
	reservedHeaders = []string{
		"authorization", "cache-control", "connection", "cookie", "date", "expect", "forwarded", "host", "keep-alive",
		"origin", "pragma", "range", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via",
	}
	reservedPrefixes = []string{"accept", "access-control-", "content-", "if-", "proxy-", "sec-", "x-forwarded-"}
)

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.portal.Serve(w, r, func(w http.ResponseWriter, r *http.Request, who *portal.Principal) error {
		if who != nil {
			setPlaceholders(r, who)
		}
		return next.ServeHTTP(w, r)
	})
}

// setPlaceholders makes the person available as {http.auth.user.*}, also to the
// access log. The values are literal: a replacer does not expand what it inserts.
func setPlaceholders(r *http.Request, who *portal.Principal) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("http.auth.user.id", who.User.ID) // over that of a basic_auth before
	repl.Map(func(key string) (any, bool) {
		field, ok := strings.CutPrefix(key, "http.auth.user.")
		if !ok || !slices.Contains(portal.Fields, field) {
			return nil, false
		}
		return who.Field(field), true
	})
}

// Cleanup ends the streams that are still open.
func (h *Handler) Cleanup() error {
	if h.portal != nil {
		h.portal.Close()
	}
	return nil
}

// clientAddr is the client's address as Caddy knows it, trusted_proxies applied.
func clientAddr(r *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(ip) // the zero Addr where Caddy knows none
	return addr
}

// original is what the client asked for, before any rewrite.
func original(r *http.Request) (method string, u *url.URL) {
	if o, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return o.Method, o.URL
	}
	return r.Method, r.URL
}

// keepOutOfLog has no access log line written for a request: Caddy would log its
// URL, and has no way to log the line without.
func keepOutOfLog(r *http.Request) {
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
