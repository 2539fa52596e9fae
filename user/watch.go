// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

// Watch returns a channel that gets a value whenever the user may have changed, on
// any node, until stop is called. Several changes may be one value: read the user
// after each.
func (r *Records) Watch(id string) (changed <-chan struct{}, stop func()) {
	return r.watch.Watch(id)
}
