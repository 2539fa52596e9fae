// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// queues let the updates of this node to the same key happen one after another.
// Keys share a queue by chance. The zero value is ready to use.
type queues struct {
	once  sync.Once
	seed  maphash.Seed
	heads [256]chan struct{}
}

// enter waits for its turn, as long as an operation may take.
func (q *queues) enter(ctx context.Context, key string) (leave func(), err error) {
	q.once.Do(func() {
		q.seed = maphash.MakeSeed()
		for i := range q.heads {
			q.heads[i] = make(chan struct{}, 1)
		}
	})
	head := q.heads[maphash.String(q.seed, key)%uint64(len(q.heads))]
	select {
	case head <- struct{}{}:
		return func() { <-head }, nil
	default:
	}
	patience := store.PatienceOf(ctx)
	late := time.NewTimer(patience.Left(callTimeout))
	patience.Begin()
	defer patience.End()
	defer late.Stop()
	select {
	case head <- struct{}{}:
		return func() { <-head }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to update a value in Redis: %w", ctx.Err())
	case <-late.C:
		return nil, fmt.Errorf("waiting to update a value in Redis: %w: other updates take too long", store.ErrUnavailable)
	}
}
