// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// UsersConfig says who may enter, and as what.
type UsersConfig struct {
	// What happens to people who are not known yet: `open`, anybody with WeChat
	// may enter; `approval`, you let each person in; `closed`, only the people
	// under `allow`. There is no default: it must be chosen.
	Registration user.Registration `json:"registration,omitempty"`

	// The people who are in whatever the registration is.
	Allow []user.Rule `json:"allow,omitempty"`

	// The people who have a role as long as they stand here.
	Roles []user.RoleRule `json:"roles,omitempty"`

	// The addresses that each person has to prove. Default: none.
	Bind []*BindConfig `json:"bind,omitempty"`

	// Whether each person has to choose a name that the site sees. Default: false.
	AskName bool `json:"ask_name,omitempty"`

	// What happens to a person who unfollows the official account: `keep`,
	// nothing; `revoke`, all sessions end; `delete`, the user is deleted.
	// Default: `keep`.
	Unfollow user.Unfollow `json:"unfollow,omitempty"`
}

// BindConfig says how people prove an address.
type BindConfig struct {
	// What they prove: `email` or `phone`.
	Channel user.Channel `json:"channel"`

	// What brings them a code. Default: none, which is enough for `phone` where
	// people sign in by a mini program that asks WeChat for their number.
	SenderRaw json.RawMessage `json:"sender,omitempty" caddy:"namespace=wechat.senders inline_key=type"`

	// Where this block stands in the Caddyfile. Set by the Caddyfile adapter.
	Source string `json:"source,omitempty"`
}

// policy returns the admission rules, or what is wrong with them.
func (c *UsersConfig) policy() (user.Policy, error) {
	p := user.Policy{Registration: c.Registration, Allow: c.Allow, Roles: c.Roles, AskName: c.AskName}
	for _, b := range c.Bind {
		if b == nil {
			return p, errors.New("bind has an entry that is null: remove it")
		}
		p.Bind = append(p.Bind, b.Channel)
	}
	c.Unfollow = cmp.Or(c.Unfollow, user.KeepUser)
	if !slices.Contains(unfollows, c.Unfollow) {
		return p, fmt.Errorf("unfollow %q is unknown: use %s", c.Unfollow, joined(unfollows))
	}
	return p, p.Validate()
}

// unfollows are the values of unfollow.
var unfollows = []user.Unfollow{user.KeepUser, user.EndSessions, user.DeleteUser}

// provisionPeople returns the admission rules, and loads what brings codes to people.
func (a *App) provisionPeople(ctx caddy.Context) (user.Policy, error) {
	policy, err := a.Users.policy()
	if err == nil {
		err = a.checkUnfollow()
	}
	if err == nil {
		err = a.provisionSenders(ctx)
	}
	return policy, err
}

// checkUnfollow refuses a rule that would never apply.
func (a *App) checkUnfollow() error {
	if a.Users.Unfollow != user.KeepUser && len(a.OfficialAccounts) == 0 {
		return fmt.Errorf("unfollow %s needs an official_account, of no other account WeChat tells who unfollows it: add one, or take the line out", a.Users.Unfollow)
	}
	return nil
}

func (a *App) provisionSenders(ctx caddy.Context) error {
	a.senders = make(map[user.Channel]sender.Sender)
	for _, b := range a.Users.Bind {
		if err := a.provisionSender(ctx, b); err != nil {
			return at(b.Source, fmt.Errorf("bind %s: %w", b.Channel, err))
		}
	}
	return nil
}

func (a *App) provisionSender(ctx caddy.Context, b *BindConfig) error {
	switch {
	case b.SenderRaw != nil:
	case b.Channel == user.ByPhone && len(a.MiniPrograms) > 0:
		return nil // WeChat tells the number, and no code is needed
	case b.Channel == user.ByPhone:
		return errors.New("no code can reach a phone: add a sender, like sender webhook { … }, or a mini_program, whose users' numbers WeChat tells")
	default:
		return errors.New("no code can reach a mailbox: add a sender, like sender smtp { … }")
	}
	mod, err := ctx.LoadModule(b, "SenderRaw")
	if err != nil {
		return err
	}
	s, ok := mod.(sender.Sender)
	if !ok {
		return fmt.Errorf("module %T is no sender: it must implement sender.Sender", mod)
	}
	if _, mail := s.(*SMTP); mail && b.Channel == user.ByPhone {
		return errors.New("smtp sends e-mail, which reaches no phone: use sender webhook with an SMS provider")
	}
	a.senders[b.Channel] = s
	return nil
}
