// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
)

// HasUnionID says whether WeChat has given a unionid for an identity before.
func (d *Directory) HasUnionID(ctx context.Context, appID, openID string) (bool, error) {
	owner, err := d.Owner(ctx, appID, openID)
	if err != nil || owner == "" {
		return false, err
	}
	u, err := d.Get(ctx, owner)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, id := range u.Identities {
		if id.AppID == appID && id.OpenID == openID {
			return id.UnionID != "", nil
		}
	}
	return false, nil
}
