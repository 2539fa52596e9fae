// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import "github.com/caddy-wechat/caddy-wechat/store"

// Watch returns a channel that gets a value whenever the attempt may have
// changed, until stop is called. Several changes may be one value: read the
// attempt after each.
func (v *Service) Watch(id string) (changed <-chan struct{}, stop func()) {
	return v.watchers.Watch(id)
}

// notice wakes the browsers of one attempt, or all of them where it is not
// known what was missed.
func (v *Service) notice(n store.Notice) {
	switch n.Kind {
	case store.Message:
		v.watchers.Wake(n.Payload)
	case store.Lost: // what they know is still true
	case store.Restored:
		v.watchers.WakeSlowly()
	}
}
