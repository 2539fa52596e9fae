// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/watch"
)

const (
	attemptPrefix = store.VolatilePrefix + "attempt:"
	scenePrefix   = store.VolatilePrefix + "scene:"
	tokenPrefix   = store.VolatilePrefix + "confirm:"
	topic         = "attempt"

	// linger is how long an attempt is remembered after it could no longer
	// succeed: for the browser to be told, and for WeChat's late events.
	linger = 15 * time.Minute
	// maxTTL is the longest that a method may let an attempt live.
	maxTTL = 30 * time.Minute
	// idLen is the length of what rand.Text returns.
	idLen = 26
	// revocable is how long the person who scanned may still say "that was not me".
	revocable = 24 * time.Hour
)

// ErrNotFound says that there is no such attempt, or none that the asking
// browser may know of.
var ErrNotFound = errors.New("no such attempt")

// Service begins attempts and moves them on. Close ends its subscription.
type Service struct {
	store    store.Store
	starters map[string]Starter
	now      func() time.Time
	watchers *watch.Watchers
	cancel   func()
	portals  []string // whose attempts there are; nil for all
}

// Starter begins attempts of one method: it asks WeChat for what the page shows.
type Starter interface {
	// Start fills in what the method adds to the attempt and returns what the
	// page shows. The attempt has its id and secrets already.
	Start(ctx context.Context, a *Attempt) (Shown, error)
}

// Shown is what the page shows besides the attempt itself.
type Shown struct {
	QR *QR `json:"qr,omitempty"`
	// Link opens the mini program on the phone that shows the page.
	Link string `json:"link,omitempty"`
	// Trouble is what the operator should hear of, although there is something to
	// show: WeChat has refused something better.
	Trouble error `json:"-"`
	// Redirect is WeChat's page to go to, and Frame the same page for a frame.
	Redirect string `json:"redirect,omitempty"`
	Frame    string `json:"frame,omitempty"`
	// Code is to be sent to the account, whose own QR code is QR.
	Code string `json:"code,omitempty"`
}

// NewService returns a Service whose attempts are kept in s and begun by
// starters, which are named by method and app id (see StarterKey). now is the
// clock; nil means time.Now.
func NewService(s store.Store, starters map[string]Starter, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	v := &Service{store: s, starters: starters, now: now, watchers: new(watch.Watchers)}
	v.cancel = s.Subscribe(topic, v.notice)
	return v
}

// For returns the Service of one site, which is reached by these portal URLs: what
// was begun at another site does not exist for it, but for Scan and SendCode, since
// WeChat tells one site of all. It must not be closed.
func (v *Service) For(portals ...string) *Service {
	scoped := *v
	scoped.portals = portals
	return &scoped
}

// Close ends the subscription; whoever waits is woken.
func (v *Service) Close() {
	v.cancel()
	v.watchers.WakeAll()
}

// StarterKey names the starter of a method for an account.
func StarterKey(method, appID string) string { return method + ":" + appID }

// Request is what a browser asks for.
type Request struct {
	Method, AppID string
	Site, Portal  string
	ReturnTo      string
	Client        Client
	// Browser is the secret that binds the attempt to the browser.
	Browser string
	// OnPhone says that the browser is on a phone.
	OnPhone bool
	// Quiet says that few attempts have come from the browser's network lately.
	Quiet bool
}

// Begin makes an attempt. Errors of WeChat's are returned as the starter gives them.
func (v *Service) Begin(ctx context.Context, r Request) (Attempt, Shown, error) {
	starter := v.starters[StarterKey(r.Method, r.AppID)]
	if starter == nil {
		return Attempt{}, Shown{}, fmt.Errorf("method %s is not configured for account %s", r.Method, r.AppID)
	}
	a := Attempt{
		ID: rand.Text(), Scene: rand.Text(), Token: rand.Text(),
		Method: r.Method, AppID: r.AppID, State: Pending,
		Site: r.Site, Portal: r.Portal, ReturnTo: r.ReturnTo, Client: r.Client,
		Browser:   hash(r.Browser),
		OnPhone:   r.OnPhone,
		Quiet:     r.Quiet,
		CreatedAt: v.now().UTC(),
	}
	// WeChat must not be asked for a code that cannot be kept: its quota is small,
	// and the visitor would wait for both.
	if err := v.store.Set(ctx, a.sceneKey(), []byte(a.ID), maxTTL+linger); err != nil {
		return Attempt{}, Shown{}, fmt.Errorf("keeping the attempt: %w", err)
	}
	shown, err := starter.Start(ctx, &a)
	if err != nil {
		// Should this fail, the entry goes by itself.
		_, _ = v.store.Delete(context.WithoutCancel(ctx), a.sceneKey())
		return Attempt{}, Shown{}, err
	}
	return a, shown, v.write(ctx, &a)
}

// write keeps a new attempt and the other way to find it. The attempt comes last,
// so that it can be found as soon as it exists.
func (v *Service) write(ctx context.Context, a *Attempt) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding the attempt: %w", err)
	}
	for _, e := range []struct {
		key   string
		value []byte
		ttl   time.Duration
	}{
		{tokenPrefix + hash(a.Token), []byte(a.ID), v.ttl(a) + revocable},
		{attemptPrefix + a.ID, raw, v.ttl(a)},
	} {
		if err := v.store.Set(ctx, e.key, e.value, e.ttl); err != nil {
			return fmt.Errorf("keeping the attempt: %w", err)
		}
	}
	return nil
}

func (v *Service) ttl(a *Attempt) time.Duration {
	if a.State == Consumed {
		return revocable
	}
	return a.ExpiresAt.Sub(v.now()) + linger
}

// Get returns the attempt to the browser that began it.
func (v *Service) Get(ctx context.Context, id, browser string) (Attempt, error) {
	a, err := v.read(ctx, id)
	if err == nil && !a.boundTo(browser) {
		return Attempt{}, ErrNotFound
	}
	return a, err
}

func (v *Service) read(ctx context.Context, id string) (Attempt, error) {
	if len(id) != idLen { // not one that a store must be asked about
		return Attempt{}, ErrNotFound
	}
	raw, found, err := v.store.Get(ctx, attemptPrefix+id)
	if err != nil {
		return Attempt{}, fmt.Errorf("reading the attempt: %w", err)
	}
	if !found {
		return Attempt{}, ErrNotFound
	}
	var a Attempt
	if err := json.Unmarshal(raw, &a); err != nil {
		return Attempt{}, fmt.Errorf("decoding the attempt: %w", err)
	}
	if v.portals != nil && !slices.Contains(v.portals, a.Portal) {
		return Attempt{}, ErrNotFound // another site's
	}
	return a.at(v.now()), nil
}

// Cancel gives the attempt up. An attempt that is over already stays as it is.
func (v *Service) Cancel(ctx context.Context, id, browser string) error {
	if _, err := v.Get(ctx, id, browser); err != nil {
		return err
	}
	_, _, err := v.change(ctx, id, (*Attempt).cancel)
	return err
}

// Consume hands a confirmed attempt to its browser, for the session of that id.
// Of any number of callers one succeeds; the others get ErrState.
func (v *Service) Consume(ctx context.Context, id, browser, sessionID string) error {
	return v.end(ctx, id, browser, func(a *Attempt) bool { return a.consume(sessionID) })
}

// Deny ends a confirmed attempt of a person who may not enter.
func (v *Service) Deny(ctx context.Context, id, browser, reason string) error {
	return v.end(ctx, id, browser, func(a *Attempt) bool { return a.deny(reason) })
}

func (v *Service) end(ctx context.Context, id, browser string, step func(*Attempt) bool) error {
	if _, err := v.Get(ctx, id, browser); err != nil {
		return err
	}
	_, changed, err := v.change(ctx, id, step)
	if err == nil && !changed {
		return ErrState
	}
	return err
}

// Scan gives the attempt that shows the scene to the person who scanned it,
// unless somebody was faster. The attempt is returned as it is then: its OpenID
// says whose it is. A scene that is nobody's is ErrNotFound.
func (v *Service) Scan(ctx context.Context, appID, scene string, who Person) (Attempt, error) {
	id, err := v.idAt(ctx, sceneKey(appID, scene))
	if err != nil {
		return Attempt{}, err
	}
	a, _, err := v.change(ctx, id, func(a *Attempt) bool { return a.scan(who, v.now().UTC()) })
	return a, err
}

// ByScene returns the attempt that shows the scene to whoever asks, and leaves it as
// it is: so a scene that is nobody's costs no question to WeChat.
func (v *Service) ByScene(ctx context.Context, appID, scene string) (Attempt, error) {
	if len(scene) != idLen { // not one that a store must be asked about
		return Attempt{}, ErrNotFound
	}
	id, err := v.idAt(ctx, sceneKey(appID, scene))
	if err != nil {
		return Attempt{}, err
	}
	return v.read(ctx, id)
}

// ByToken returns the attempt that a link in the chat names.
func (v *Service) ByToken(ctx context.Context, token string) (Attempt, error) {
	if len(token) != idLen { // not one that a store must be asked about
		return Attempt{}, ErrNotFound
	}
	id, err := v.idAt(ctx, tokenPrefix+hash(token))
	if err != nil {
		return Attempt{}, err
	}
	return v.read(ctx, id)
}

// idAt returns the id of the attempt that a key of the store leads to.
func (v *Service) idAt(ctx context.Context, key string) (string, error) {
	id, found, err := v.store.Get(ctx, key)
	if err != nil {
		return "", fmt.Errorf("finding the attempt: %w", err)
	}
	if !found {
		return "", ErrNotFound
	}
	return string(id), nil
}

// Answer applies what the person who scanned chose, and says whether it changed
// anything. more is what the person tells besides. The attempt is returned as it
// is then.
func (v *Service) Answer(ctx context.Context, token, choice string, more Person) (Attempt, bool, error) {
	a, err := v.ByToken(ctx, token)
	if err != nil {
		return Attempt{}, false, err
	}
	return v.change(ctx, a.ID, func(a *Attempt) bool {
		changed := a.answer(choice)
		if changed && a.State == Confirmed {
			a.learn(more)
		}
		return changed
	})
}

// change moves an attempt on in one atomic step and wakes who waits for it. The
// attempt is returned as it is then, changed or not.
func (v *Service) change(ctx context.Context, id string, step func(*Attempt) bool) (a Attempt, changed bool, err error) {
	found := false
	err = v.store.Update(ctx, attemptPrefix+id, func(raw []byte, exists bool) ([]byte, time.Duration, error) {
		a, found, changed = Attempt{}, exists, false
		if !exists {
			return nil, 0, nil
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, 0, fmt.Errorf("decoding the attempt: %w", err)
		}
		a = a.at(v.now())
		if changed = step(&a); !changed {
			return nil, 0, nil
		}
		next, err := json.Marshal(a)
		return next, v.ttl(&a), err
	}, store.Announcement{Topic: topic, Payload: id})
	if err != nil {
		return Attempt{}, false, fmt.Errorf("moving the attempt on: %w", err)
	}
	if !found {
		return Attempt{}, false, ErrNotFound
	}
	return a, changed, nil
}

func sceneKey(appID, scene string) string { return scenePrefix + appID + ":" + scene }

// sceneKey is where the attempt is found by its scene. WeChat's page leads back
// with it as the state, and says not for which account.
func (a *Attempt) sceneKey() string {
	if a.authorizes() {
		return statePrefix + a.Scene
	}
	return sceneKey(a.AppID, a.Scene)
}
