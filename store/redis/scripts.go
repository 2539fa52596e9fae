// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // by which Redis names scripts
	"encoding/hex"
	"errors"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// script runs in Redis as one atomic step.
type script struct{ source, hash string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see the import
	return script{source: source, hash: hex.EncodeToString(sum[:])}
}

// A channel of announcements and the messages for it are a script's last
// arguments. Publishing in the script is what keeps a write and its announcement
// together: Redis does both or neither, whatever becomes of this process.
var (
	// replaceScript: expected is 1 where ARGV[2] must be the value, 0 where
	// there must be none. It answers 1 if it wrote, and else what is there now.
	replaceScript = newScript(`
local current = redis.call('GET', KEYS[1])
if (ARGV[1] == '1') ~= (current ~= false) or (current and current ~= ARGV[2]) then
  return {0, current}
end
if ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
for i = 6, #ARGV do
  redis.call('PUBLISH', ARGV[5], ARGV[i])
end
return {1}`)

	deleteScript = newScript(`
local existed = redis.call('DEL', KEYS[1])
for i = 2, #ARGV do
  redis.call('PUBLISH', ARGV[1], ARGV[i])
end
return existed`)

	// publishScript deletes a key that never exists, because a replica refuses
	// that: publishing there would reach nobody else.
	publishScript = newScript(`
redis.call('DEL', KEYS[1])
for i = 1, #ARGV do
  redis.call('PUBLISH', KEYS[1], ARGV[i])
end
return 1`)

	// pingScript fails where Redis cannot write, and where it is too old.
	pingScript = newScript(`
redis.call('SET', KEYS[1], '', 'PX', 1000)
return redis.call('GETDEL', KEYS[1])`)
)

// eval runs a script on a key, sending its text only where Redis does not know it.
func (s *Store) eval(ctx context.Context, sc script, key string, args ...any) (any, error) {
	return s.call(ctx, key, func(ctx context.Context) (any, error) {
		result, err := s.send(ctx, append([]any{"evalsha", sc.hash, "1", key}, args...)...)
		if noScript(err) {
			result, err = s.send(ctx, append([]any{"eval", sc.source, "1", key}, args...)...)
		}
		return result, err
	})
}

func noScript(err error) bool {
	_, fromRedis := errors.AsType[goredis.Error](err)
	return fromRedis && strings.HasPrefix(err.Error(), "NOSCRIPT")
}
