// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

func init() {
	caddy.RegisterModule(new(AdminAPI))
}

// adminRoot is the path below which the endpoints are.
const adminRoot = "/wechat/"

// AdminAPI lets whoever may use Caddy's admin endpoint look after users and their
// sessions. It has no settings; docs/people.md describes the endpoints.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.wechat", New: func() caddy.Module { return new(AdminAPI) }}
}

// Routes implements caddy.AdminRouter.
func (*AdminAPI) Routes() []caddy.AdminRoute {
	mux := http.NewServeMux()
	mux.Handle(adminRoot, adminMethods{})
	mux.Handle(adminRoot+"status", adminMethods{http.MethodGet: adminStatus})
	mux.Handle(adminRoot+"users", adminMethods{http.MethodGet: adminListUsers})
	mux.Handle(adminRoot+"users/search", adminMethods{http.MethodPost: adminSearchUsers})
	mux.Handle(adminRoot+"users/import", adminMethods{http.MethodPost: adminImportUsers})
	mux.Handle(adminRoot+"users/{id}", adminMethods{
		http.MethodGet: adminShowUser, http.MethodPatch: adminChangeUser, http.MethodDelete: adminDeleteUser,
	})
	mux.Handle(adminRoot+"users/{id}/sessions", adminMethods{http.MethodGet: adminListSessions, http.MethodDelete: adminEndSessions})
	mux.Handle(adminRoot+"sessions/{id}", adminMethods{http.MethodDelete: adminEndSession})
	return []caddy.AdminRoute{{Pattern: adminRoot, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		mux.ServeHTTP(w, r)
		return nil
	})}}
}

// adminRequest is a request, and the app that runs when it comes: one that is kept
// from a configuration might be one that failed to load.
type adminRequest struct {
	*http.Request
	w   http.ResponseWriter
	app *App
}

// actor is whoever uses the admin endpoint.
func (r adminRequest) actor() audit.Actor {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil { // a Unix socket
		ip = ""
	}
	return audit.Actor{Kind: audit.Operator, IP: ip, UserAgent: r.UserAgent()}
}

// adminMethods are what an endpoint does, by method. Each returns what to answer as
// JSON, nil for 204.
type adminMethods map[string]func(r adminRequest) (any, error)

// ServeHTTP implements http.Handler.
func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	body, err := m.serve(w, r)
	switch {
	case err != nil:
		failure := failureOf(err)
		if failure.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "5")
		}
		writeJSON(w, failure.status, failure)
	case body == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, body)
	}
}

func (m adminMethods) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	if len(m) == 0 {
		return nil, &adminError{http.StatusNotFound, "no_such_endpoint", "there is no such endpoint: see docs/people.md"}
	}
	do := m[r.Method]
	if do == nil {
		var allowed []string
		for method := range m {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, &adminError{http.StatusMethodNotAllowed, "method_not_allowed", "use " + strings.Join(allowed, " or ")}
	}
	app, err := runningApp()
	if err != nil {
		return nil, err
	}
	return do(adminRequest{r, w, app})
}

// runningApp returns the app of the configuration that runs.
func runningApp() (*App, error) {
	mod, err := caddy.ActiveContext().AppIfConfigured("wechat")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, &adminError{http.StatusNotFound, "not_configured", "the configuration that runs has no wechat block: ask the Caddy that serves the gateway"}
	}
	app, ok := mod.(*App)
	if err != nil || !ok || app.people == nil {
		return nil, &adminError{http.StatusServiceUnavailable, "not_running", "the gateway does not run: see Caddy's log"}
	}
	return app, nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

// adminError is what an endpoint answers when it cannot do what it should.
type adminError struct {
	status  int
	Code    string `json:"error"`
	Message string `json:"message"`
}

func (f *adminError) Error() string { return f.Message }

// failureOf says how to answer an error.
func failureOf(err error) *adminError {
	if failure, ok := errors.AsType[*adminError](err); ok {
		return failure
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &adminError{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is larger than %d bytes: send less at a time", large.Limit)}
	}
	switch {
	case errors.Is(err, user.ErrNotFound):
		return &adminError{http.StatusNotFound, "not_found", "there is no such user"}
	case errors.Is(err, user.ErrChanged):
		return &adminError{http.StatusConflict, "changed", "the user is not, or not any more, as \"if\" says: read him again"}
	case errors.Is(err, user.ErrCursor):
		return badRequest("bad_cursor", "the cursor is none that this list has given out: begin without one")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &adminError{http.StatusServiceUnavailable, "store_unavailable", err.Error()}
	default:
		return &adminError{http.StatusInternalServerError, "internal", err.Error()}
	}
}

func badRequest(code, message string) *adminError {
	return &adminError{http.StatusBadRequest, code, message}
}

// maxChangeBody bounds, in bytes, the body of a request that concerns one user.
const maxChangeBody = 64 << 10

// decodeBody reads a JSON body without unknown fields. Another content type is
// refused: only that one makes a browser ask before it sends what a foreign page
// wants to send.
func decodeBody(r adminRequest, limit int64, into any) error {
	if contentType(r) != "application/json" {
		return unsupportedType("application/json")
	}
	decoder := json.NewDecoder(http.MaxBytesReader(r.w, r.Body, limit))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil && decoder.More() {
		err = errors.New("something follows the object")
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); err != nil && !large {
		err = badRequest("bad_json", "the body is not what this endpoint takes: "+err.Error())
	}
	return err
}

func contentType(r adminRequest) string {
	name, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

func unsupportedType(types string) *adminError {
	return &adminError{http.StatusUnsupportedMediaType, "unsupported_type", "send the body as " + types}
}

// Interface guards.
var (
	_ caddy.AdminRouter = (*AdminAPI)(nil)
	_ http.Handler      = adminMethods(nil)
)
