// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// maxCount bounds how many keys one SCAN looks at, as long as the page is
	// no larger: what it finds beyond the page travels in the cursor.
	maxCount = 250
	// minCount is how many it looks at where the page is smaller.
	minCount = 10
	// maxScans bounds the work of one call where few keys have the prefix.
	maxScans = 200
)

// node is one server that holds keys of its own.
type node struct {
	address string // empty where there is only one
	client  goredis.Cmdable
}

// List returns up to limit entries whose keys begin with prefix; see store.Store.
// It goes through all keys of the database, a part with each call: it is for
// operators' tools and not for requests of visitors.
func (s *Store) List(ctx context.Context, prefix, cursor string, limit int) (items []store.Item, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("checking a limit of %d: it must be positive", limit)
	}
	prefix = s.prefix + prefix
	pos, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	if !pos.within(prefix) {
		return nil, "", errCursor
	}
	if err := s.fill(ctx, &pos, prefix, limit); err != nil {
		return nil, "", err
	}
	n := min(limit, len(pos.found))
	items, err = s.read(ctx, pos.found[:n])
	if err != nil {
		return nil, "", err
	}
	pos.found = pos.found[n:]
	return items, pos.cursor(), nil
}

// fill scans until it has found something, everything has been scanned, or it
// has scanned for long enough.
func (s *Store) fill(ctx context.Context, pos *position, prefix string, limit int) error {
	if len(pos.found) > 0 || pos.scanned {
		return nil
	}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	count := max(limit, minCount)
	for range maxScans {
		if err := s.scan(ctx, nodes, pos, prefix, count); err != nil {
			return err
		}
		if len(pos.found) > 0 || pos.scanned {
			return nil
		}
		count = max(count, min(2*count, maxCount))
	}
	return nil
}

// nodes returns the servers that hold keys, in the order of their addresses.
func (s *Store) nodes(ctx context.Context) ([]node, error) {
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		return []node{{client: s.client}}, nil
	}
	var mu sync.Mutex
	var nodes []node
	_, err := s.callServer(ctx, "", func(ctx context.Context) (any, error) {
		return nil, cluster.ForEachMaster(ctx, func(_ context.Context, c *goredis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, node{c.Options().Addr, c})
			return nil
		})
	})
	if err == nil && len(nodes) == 0 {
		err = fmt.Errorf("listing: %w: the Cluster has no masters", store.ErrUnavailable)
	}
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.address, b.address) })
	return nodes, err
}

// scan makes one step through the keys of one node. Where that is not the server
// any more that it was at the step before, its cursors mean nothing: everything
// is scanned anew, and what was found before comes again.
func (s *Store) scan(ctx context.Context, nodes []node, pos *position, prefix string, count int) error {
	i := slices.IndexFunc(nodes, func(n node) bool { return n.address == pos.address })
	if i < 0 {
		i = 0
		*pos = position{address: nodes[0].address}
	}
	var keys []string
	var next uint64
	var run string
	_, err := s.callServer(ctx, nodes[i].address, func(ctx context.Context) (any, error) {
		pipe := nodes[i].client.Pipeline() // on one connection, so of one server
		info := pipe.Info(ctx, "server")
		page := pipe.Scan(ctx, pos.scan, escapePattern(prefix)+"*", int64(count))
		_, execErr := pipe.Exec(ctx)
		run = runID(info.Val())
		var err error
		keys, next, err = page.Result()
		if _, answered := execErr.(goredis.Error); err == nil && !answered { //nolint:errorlint // see isNil
			err = execErr // and not that INFO is forbidden
		}
		return nil, err
	})
	if err != nil {
		return err
	}
	if pos.run != "" && pos.run != run {
		*pos = position{address: nodes[0].address}
		return nil
	}
	pos.run, pos.scan, pos.found = run, next, keys
	if next == 0 {
		pos.run = ""
		pos.scanned = i == len(nodes)-1
		if !pos.scanned {
			pos.address = nodes[i+1].address
		}
	}
	return nil
}

// runID is what tells a server from the one that takes its place. A user without
// the right to ask for it does without.
func runID(info string) string {
	for line := range strings.Lines(info) {
		if id, ok := strings.CutPrefix(line, "run_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

// read returns the entries of the keys, without those that have expired since.
func (s *Store) read(ctx context.Context, keys []string) ([]store.Item, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	values := make([]*goredis.StringCmd, len(keys))
	ttls := make([]*goredis.DurationCmd, len(keys))
	_, err := s.callServer(ctx, "", func(ctx context.Context) (any, error) {
		pipe := s.client.Pipeline()
		for i, key := range keys {
			values[i], ttls[i] = pipe.Get(ctx, key), pipe.PTTL(ctx, key)
		}
		_, err := pipe.Exec(ctx)
		if isNil(err) {
			err = nil
		}
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	items := make([]store.Item, 0, len(keys))
	for i, key := range keys {
		value, err := values[i].Bytes()
		ttl := ttls[i].Val()
		if isNil(err) || ttl == gone || ttl == 0 { // 0: in its last millisecond
			continue
		}
		if err != nil {
			return nil, explain(ctx, err)
		}
		items = append(items, store.Item{Key: key[len(s.prefix):], Value: value, TTL: max(ttl, 0)})
	}
	return items, nil
}

// gone is the ttl of a key that does not exist, as go-redis gives it.
const gone = time.Duration(-2)

// escapePattern returns the pattern that matches just the text.
func escapePattern(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
