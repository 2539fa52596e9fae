// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package people is what operators do with users and their sessions: each change
// is in force on every node at once, closes what it must close, and is recorded.
package people

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// Service changes users for an operator, by Caddy's admin API or the admin page.
type Service struct {
	Users    *user.Records
	Sessions *session.Records
	Audit    audit.Recorder
}

// Change makes a valid change to a user, who is returned as he is then. Whoever is
// disabled loses all sessions; a connection open through the gate closes when
// status or roles change. A change that has failed may be made again.
// The error is user.ErrNotFound, wraps user.ErrChanged, or is one of the store.
func (s *Service) Change(ctx context.Context, by audit.Actor, id string, c user.Change) (*user.User, error) {
	before, after, err := s.Users.Change(ctx, id, c)
	if err != nil {
		s.failed(ctx, by, actionOf(c), id, err)
		return nil, err
	}
	s.recordChange(ctx, by, before, after, nil)
	if after.Status == user.Disabled {
		if _, err := s.RevokeSessions(ctx, by, id); err != nil {
			return nil, err
		}
	}
	return after, nil
}

// recordChange records in what status and roles of a user differ, before is nil for
// a new one. With an error nobody knows whether they do.
func (s *Service) recordChange(ctx context.Context, by audit.Actor, before, after *user.User, err error) {
	if before == nil {
		before = &user.User{Status: after.Status}
	}
	event := audit.Event{Result: audit.OK, Actor: by, UserID: after.ID}
	if err != nil {
		event.Result, event.Reason, event.Detail = audit.Failed, "store_unavailable", err.Error()
	}
	if before.Status != after.Status {
		event.Action, event.Before, event.After = audit.ChangeStatus, string(before.Status), string(after.Status)
		s.Audit(ctx, event)
	}
	if !slices.Equal(before.Roles, after.Roles) {
		event.Action, event.Before, event.After = audit.ChangeRoles, strings.Join(before.Roles, ","), strings.Join(after.Roles, ",")
		s.Audit(ctx, event)
	}
}

func actionOf(c user.Change) audit.Action {
	if c.Status != nil {
		return audit.ChangeStatus
	}
	return audit.ChangeRoles
}

// Delete removes a user and ends his sessions, and returns what was deleted. Somebody
// who is to stay out is disabled instead: a deleted one can come back as a stranger.
// The sessions go before the user does, so that a delete which has failed may be made
// again; no other begins meanwhile.
func (s *Service) Delete(ctx context.Context, by audit.Actor, id string) (*user.User, error) {
	anybody := func(*user.User) bool { return true }
	return s.delete(ctx, by, id, anybody, anybody)
}

// Leave is Delete by a person's own wish. Who is disabled is not deleted, for he could
// come back as a stranger, nor who is changed by an operator on the way out; the error
// wraps user.ErrChanged then.
func (s *Service) Leave(ctx context.Context, by audit.Actor, id string) (*user.User, error) {
	leaving := func(u *user.User) bool { return u.Leaving }
	return s.delete(ctx, by, id, func(u *user.User) bool { return u.Status != user.Disabled || u.Leaving }, leaving)
}

// delete asks, before it begins, whether the user is allowed to be deleted, and after
// it has ended his sessions whether he is still expected to be.
func (s *Service) delete(ctx context.Context, by audit.Actor, id string, allowed, expected func(*user.User) bool) (*user.User, error) {
	disabled := user.Disabled
	_, u, err := s.Users.Change(ctx, id, user.Change{Status: &disabled, Leaving: true, If: allowed})
	if err == nil {
		_, err = s.Sessions.RevokeUser(ctx, id)
	}
	if err == nil {
		u, err = s.Users.DeleteIf(ctx, id, expected)
	}
	if err != nil {
		s.failed(ctx, by, audit.DeleteUser, id, err)
		return nil, err
	}
	s.Audit(ctx, audit.Event{Action: audit.DeleteUser, Result: audit.OK, Actor: by, UserID: id})
	return u, nil
}

// RevokeSession ends one session and says whether there was one.
func (s *Service) RevokeSession(ctx context.Context, by audit.Actor, id string) (bool, error) {
	known, err := s.Sessions.Find(ctx, id)
	if errors.Is(err, session.ErrInvalid) {
		return false, nil
	}
	found := false
	if err == nil {
		found, err = s.Sessions.Revoke(ctx, id)
	}
	event := audit.Event{Action: audit.RevokeSession, Result: audit.OK, Actor: by, UserID: known.UserID, SessionID: id, Count: 1}
	if err != nil {
		event.Result, event.Reason, event.Detail, event.Count = audit.Failed, "store_unavailable", err.Error(), 0
	}
	if found || err != nil {
		s.Audit(ctx, event)
	}
	return found, err
}

// RevokeSessions ends all sessions of a user and says how many there were.
func (s *Service) RevokeSessions(ctx context.Context, by audit.Actor, userID string) (int, error) {
	n, err := s.Sessions.RevokeUser(ctx, userID)
	if err != nil {
		s.failed(ctx, by, audit.RevokeSessions, userID, err)
		return n, err
	}
	if n > 0 {
		s.Audit(ctx, audit.Event{Action: audit.RevokeSessions, Result: audit.OK, Actor: by, UserID: userID, Count: n})
	}
	return n, nil
}

func (s *Service) failed(ctx context.Context, by audit.Actor, action audit.Action, userID string, err error) {
	event := audit.Event{Action: action, Result: audit.Failed, Reason: "store_unavailable", Actor: by, UserID: userID, Detail: err.Error()}
	if errors.Is(err, user.ErrNotFound) {
		event.Result, event.Reason, event.Detail = audit.Refused, "unknown_user", ""
	}
	if errors.Is(err, user.ErrChanged) {
		event.Result, event.Reason, event.Detail = audit.Refused, "changed_meanwhile", ""
	}
	s.Audit(ctx, event)
}
