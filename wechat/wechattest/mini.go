// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// The endpoints of mini programs that a Server simulates.
const (
	EndpointMiniCode     = "/wxa/getwxacodeunlimit"
	EndpointCode2Session = "/sns/jscode2session"
	EndpointPhoneNumber  = "/wxa/business/getuserphonenumber"
	EndpointURLLink      = "/wxa/generate_urllink"
)

const (
	envRelease = "release"
	envTrial   = "trial"
	envDevelop = "develop"

	// freePhoneNumbers is how many numbers a mini program gets before it pays.
	freePhoneNumbers = 1000
)

// MiniProgram is a mini program (小程序) as its owner configured and published it.
type MiniProgram struct {
	Account // its Kind is VerifiedMiniProgram, whatever it is set to
	// Individual says that the owner is a person and not a body: the mini program
	// then can make no links and read no phone numbers.
	Individual bool
	// Pages are the pages of the released version, the home page first, as
	// app.json names them. Empty: nothing is released.
	Pages []string
	// TrialPages and DevelopPages are those of the versions (体验版, 开发版) that
	// only Members can open. Empty: there is no such version.
	TrialPages, DevelopPages []string
	// Members are the names of the persons of the team.
	Members []string
	// Portal is where its login page finds the site's gateway, such as
	// "https://example.com/_wechat": base in the config.js of examples/miniprogram.
	// Only the web page of a phone shows that page. Empty: it shows none.
	Portal string
}

// miniProgram is a MiniProgram with its state, guarded by Server.mu.
type miniProgram struct {
	MiniProgram
	phoneNumbers int        // that it may still read
	recent       []madeCode // the codes made last, oldest first
	sessionKeys  []string
}

// madeCode is a code that the mini program has made.
type madeCode struct {
	content string
	at      time.Time
}

// MiniProgramHandle is a registered mini program.
type MiniProgramHandle struct{ *AccountHandle }

// miniState is what a Server holds of mini programs, guarded by Server.mu.
type miniState struct {
	programs map[string]*miniProgram
	codes    map[string]*personCode
	links    map[string]*urlLink
	numbers  map[string]Number // by the person's name
	sealKey  []byte            // of the contents of mini program codes
	purgedAt time.Time
}

func newMiniState() miniState {
	return miniState{
		programs: map[string]*miniProgram{},
		codes:    map[string]*personCode{},
		links:    map[string]*urlLink{},
		numbers:  map[string]Number{},
		sealKey:  randomBytes(32),
	}
}

func (s *Server) routeMini(mux *http.ServeMux) {
	mux.Handle(EndpointMiniCode, s.endpoint(EndpointMiniCode, s.miniCode))
	mux.Handle(EndpointCode2Session, s.endpoint(EndpointCode2Session, jsonHandler(byGet(s.code2Session))))
	mux.Handle(EndpointPhoneNumber, s.endpoint(EndpointPhoneNumber, jsonHandler(byPost(s.phoneNumber))))
	mux.Handle(EndpointURLLink, s.endpoint(EndpointURLLink, jsonHandler(byPost(s.generateURLLink))))
}

// AddMiniProgram registers a mini program, as [Server.AddAccount] does an account.
func (s *Server) AddMiniProgram(m MiniProgram) (*MiniProgramHandle, error) {
	m.Kind = VerifiedMiniProgram
	for _, page := range slices.Concat(m.Pages, m.TrialPages, m.DevelopPages) {
		if !miniPagePattern.MatchString(page) {
			return nil, fmt.Errorf("adding mini program %s: the page %q is not as app.json names pages", m.AppID, page)
		}
	}
	h, err := s.AddAccount(m.Account)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mini.programs[m.AppID] = &miniProgram{MiniProgram: m, phoneNumbers: freePhoneNumbers}
	return &MiniProgramHandle{h}, nil
}

// Release publishes a version with these pages, the home page first; with none
// it takes the mini program offline.
func (h *MiniProgramHandle) Release(pages ...string) {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	h.server.mini.programs[h.appID].Pages = slices.Clone(pages)
}

// SetPhoneNumbers sets how many phone numbers the mini program may still read.
// It begins with the 1,000 free ones.
func (h *MiniProgramHandle) SetPhoneNumbers(n int) {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	h.server.mini.programs[h.appID].phoneNumbers = n
}

// MiniCodes returns the contents of the last 20 codes that the mini program has
// made, oldest first: what [ReadCode] reads from their pictures.
func (h *MiniProgramHandle) MiniCodes() []string {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	var contents []string
	for _, code := range h.server.mini.programs[h.appID].recent {
		contents = append(contents, code.content)
	}
	return contents
}

// SessionKeys returns the last 1,000 session keys that jscode2session gave, for a
// test that looks for them where they must not be.
func (h *MiniProgramHandle) SessionKeys() []string {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	return slices.Clone(h.server.mini.programs[h.appID].sessionKeys)
}

var miniPagePattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_.-]+)*$`)

// pages are those of a version.
func (m *miniProgram) pages(env string) []string {
	switch env {
	case envTrial:
		return m.TrialPages
	case envDevelop:
		return m.DevelopPages
	default:
		return m.Pages
	}
}

// opens reports whether a version has the page; "" is the home page.
func (m *miniProgram) opens(env, page string) bool {
	pages := m.pages(env)
	return len(pages) > 0 && (page == "" || slices.Contains(pages, page))
}

func knownEnv(env string) bool { return env == envRelease || env == envTrial || env == envDevelop }

// authorizeMiniLocked finds the mini program that the call's access token belongs
// to. That of another account may not call these endpoints.
func (s *Server) authorizeMiniLocked(c call) (*account, *miniProgram, apiError) {
	app, e := s.authorizeLocked(c)
	if e.ErrCode != 0 {
		return nil, nil, e
	}
	m := s.mini.programs[app.AppID]
	if m == nil {
		return nil, nil, apiError{48001, "api unauthorized"}
	}
	return app, m, apiError{}
}

// purgeMiniLocked forgets codes and links that ended an hour ago.
func (s *Server) purgeMiniLocked(now time.Time) {
	if now.Sub(s.mini.purgedAt) < purgeEvery {
		return
	}
	s.mini.purgedAt = now
	old := now.Add(-keepExpiredCodes)
	for code, c := range s.mini.codes {
		if c.expires.Before(old) {
			delete(s.mini.codes, code)
		}
	}
	for id, link := range s.mini.links {
		if link.expires.Before(old) {
			delete(s.mini.links, id)
		}
	}
}

// What a phone refuses to open.
var (
	ErrNoPage    = errors.New("the mini program has no such page in this version")
	ErrNotMember = errors.New("the person may not open this version of the mini program")
)
