// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// unfollowed does what the site wants done with the user of a person who has
// unfollowed an account. Somebody whom the account has never signed in is nobody's
// user. It may be done again where it has failed.
func (p *Portal) unfollowed(ctx context.Context, appID, openID string) error {
	if p.Unfollow != user.EndSessions && p.Unfollow != user.DeleteUser {
		return nil
	}
	id, err := p.Users.Owner(ctx, appID, openID)
	if err != nil || id == "" {
		return err
	}
	by := audit.Actor{Kind: audit.Gateway}
	done := p.Unfollow
	if done == user.DeleteUser {
		_, err = p.People.Leave(ctx, by, id)
		if errors.Is(err, user.ErrChanged) { // disabled, and to stay out
			done = user.EndSessions
		}
	}
	if done == user.EndSessions {
		_, err = p.People.RevokeSessions(ctx, by, id)
	}
	if errors.Is(err, user.ErrNotFound) { // an operator was faster
		return nil
	}
	if err == nil {
		p.Audit(ctx, audit.Event{
			Action: audit.Unfollow, Result: audit.OK, Actor: by, UserID: id, Account: appID, OpenID: openID, After: string(done),
		})
	}
	return err
}
