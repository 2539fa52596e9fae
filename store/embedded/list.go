// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var errCursor = errors.New("not a cursor of this store")

// position is how far a listing has come. Part 0 is the file, parts 1 to
// shardCount are the shards in memory; within a part, entries come in the order
// of their keys.
type position struct {
	part  byte
	after string // the last key returned
}

// List returns up to limit entries whose keys begin with prefix; see store.Store.
func (s *Store) List(ctx context.Context, prefix, cursor string, limit int) (items []store.Item, next string, err error) {
	if err := checkContext(ctx); err != nil {
		return nil, "", err
	}
	if limit < 1 {
		return nil, "", fmt.Errorf("checking a limit of %d: it must be positive", limit)
	}
	pos, err := parseCursor(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("checking a cursor: %w", err)
	}
	d, err := s.ready() //nolint:contextcheck // see ready
	if err != nil {
		return nil, "", err
	}
	return s.list(d, prefix, pos, limit)
}

// list goes through the parts until the page is full.
func (s *Store) list(d *durable, prefix string, pos position, limit int) (items []store.Item, next string, err error) {
	for last := lastPart(prefix); pos.part <= last; pos = (position{part: pos.part + 1}) {
		page, err := s.listPart(d, prefix, pos, limit-len(items))
		if err != nil {
			return nil, "", err
		}
		items = append(items, page...)
		if len(items) == limit {
			return items, position{pos.part, items[limit-1].Key}.cursor(), nil
		}
	}
	return items, "", nil
}

func (s *Store) listPart(d *durable, prefix string, pos position, limit int) ([]store.Item, error) {
	if pos.part == 0 {
		return d.list(prefix, pos.after, limit)
	}
	return s.volatile.list(int(pos.part)-1, prefix, pos.after, limit), nil
}

// lastPart returns 0 where no volatile key can have the prefix.
func lastPart(prefix string) byte {
	if strings.HasPrefix(prefix, store.VolatilePrefix) || strings.HasPrefix(store.VolatilePrefix, prefix) {
		return shardCount
	}
	return 0
}

// cursor returns the form that callers hand out: a key may hold any bytes, a
// cursor travels in URLs.
func (p position) cursor() string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{p.part}, p.after...))
}

func parseCursor(cursor string) (position, error) {
	if cursor == "" {
		return position{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) == 0 || b[0] > shardCount {
		return position{}, errCursor
	}
	return position{part: b[0], after: string(b[1:])}, nil
}
