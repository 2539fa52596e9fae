#!/bin/sh
# Copyright 2026 the caddy-wechat authors
# SPDX-License-Identifier: Apache-2.0
#
# Three Caddies behind a load balancer, on one Redis: a master, two replicas and
# three Sentinels. All on this machine, on 127.0.0.1 alone, to be tried and killed.
#
#	go build -o caddy ./cmd/caddy
#	export WECHAT_APP_ID=<appID> WECHAT_OA_SECRET=<appsecret> WECHAT_OA_TOKEN=<token>
#	examples/cluster/run.sh
#
# It needs a POSIX shell, redis-server and redis-cli 6.2 or later, and the caddy
# built above, found as ./caddy or at $CADDY. What else can be set:
#
#	BASE_PORT          of the balancer, 8400; the others are above it, up to +33
#	PUBLIC_URL         what visitors type, http://127.0.0.1:$BASE_PORT
#	WECHAT_OA_AES_KEY  the EncodingAESKey of a verified service account
#	WECHAT_API_URL     https://api.weixin.qq.com
#
# Ctrl-C ends all of it and removes its data. A part that ends on its way up, and
# the balancer at any time, ends all, too; any other is started again 20 s later.
set -eu
umask 077

fail() {
	echo "run.sh: $*" >&2
	exit 1
}

here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
if [ -z "${CADDY:-}" ]; then
	CADDY=$PWD/caddy
fi
for name in WECHAT_APP_ID WECHAT_OA_SECRET WECHAT_OA_TOKEN; do
	eval "value=\${$name:-}"
	[ -n "$value" ] || fail "$name is not set: a test account (测试号) is free, see Get an account in README.md"
done
command -v "$CADDY" >/dev/null || fail "there is no $CADDY: build it with \`go build -o caddy ./cmd/caddy\`, or set CADDY"
for name in redis-server redis-cli; do
	command -v "$name" >/dev/null || fail "there is no $name: install Redis 6.2 or later (Debian: apt install redis-server)"
done
base=${BASE_PORT:-8400}
case $base in
*[!0-9]* | '' | ??????*) fail "BASE_PORT $base is not a port" ;;
esac
[ "$base" -ge 1024 ] && [ "$base" -le 65000 ] || fail "BASE_PORT $base is not from 1024 to 65000"

dir=${TMPDIR:-/tmp}/caddy-wechat-cluster-$$
mkdir "$dir"

# terminate ends a child and waits for it. One that has just been forked can miss
# a signal.
terminate() {
	child=$1
	while kill -s TERM "$child" 2>/dev/null; do sleep 0.1; done &
	wait "$child" 2>/dev/null || true
	wait "$!" || true
}

# stop ends all parts, and this script with them.
stop() {
	status=$?
	trap '' EXIT INT TERM HUP USR1
	[ -z "$keepers" ] || kill -s TERM $keepers 2>/dev/null || true
	for keeper in $keepers; do
		terminate "$keeper"
	done
	if [ "$status" = 0 ]; then
		rm -rf "$dir"
		echo 'All parts have ended.'
	else
		echo "All parts have ended; their logs are in $dir." >&2
	fi
	exit "$status"
}
keepers=
trap stop EXIT
trap 'exit 0' INT TERM HUP
trap 'exit 1' USR1 # by keep

# keep runs a part in the background, and again 20 s after it has ended.
keep() {
	(
		trap '' INT HUP USR1
		trap 'trap "" TERM; [ -z "$!" ] || terminate "$!"; exit 0' TERM
		name=$1
		shift
		while :; do
			"$@" >>"$dir/$name.log" 2>&1 &
			echo "$!" >"$dir/$name.pid"
			wait "$!" || true
			# Ctrl-C reaches the part, too: then TERM comes here.
			sleep 1 &
			wait "$!" || true
			if [ "$name" = balancer ] || [ ! -e "$dir/up" ]; then
				echo "$name has ended, and so does everything. It said:" >&2
				tail -n 5 "$dir/$name.log" >&2
				kill -s USR1 $$
				exit
			fi
			echo "$name has ended. It starts again in 20 s."
			sleep 20 &
			wait "$!" || true
		done
	) &
	keepers="$keepers $!"
}

# await waits until a command prints a text, for at most 30 s.
await() {
	what=$1 text=$2
	shift 2
	tries=0
	until "$@" 2>/dev/null | grep -q "$text"; do
		tries=$((tries + 1))
		[ "$tries" -lt 150 ] || fail "$what is not ready after 30 s: see its log in $dir"
		sleep 0.2
	done
}

# Redis. Everybody on this machine can reach these ports, hence the password.
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "$password" >"$dir/password"
export REDISCLI_AUTH="$password"
master=$((base + 11))
for i in 1 2 3; do
	mkdir "$dir/redis-$i"
	cat >"$dir/redis-$i/redis.conf" <<-END
		bind 127.0.0.1
		port $((base + 10 + i))
		dir $dir/redis-$i
		requirepass $password
		masterauth $password
		replica-announce-ip 127.0.0.1
		# see docs/redis.md
		maxmemory 64mb
		maxmemory-policy noeviction
		appendonly yes
		appendfsync everysec
		min-replicas-to-write 1
		min-replicas-max-lag 5
		repl-diskless-sync-delay 0
	END
	[ "$i" = 1 ] || echo "replicaof 127.0.0.1 $master" >>"$dir/redis-$i/redis.conf"
	keep "redis-$i" redis-server "$dir/redis-$i/redis.conf"
done
# A Sentinel that asks the master before its replicas are there does so again only
# 10 s later, and could not replace it until then.
await redis-1 '^connected_slaves:2' redis-cli -p "$master" info replication
for i in 1 2 3; do
	mkdir "$dir/sentinel-$i"
	cat >"$dir/sentinel-$i/sentinel.conf" <<-END
		bind 127.0.0.1
		port $((base + 20 + i))
		dir $dir/sentinel-$i
		requirepass $password
		sentinel sentinel-pass $password
		sentinel monitor wechat 127.0.0.1 $master 2
		sentinel auth-pass wechat $password
		sentinel down-after-milliseconds wechat 2000
		sentinel failover-timeout wechat 3000
	END
	keep "sentinel-$i" redis-server "$dir/sentinel-$i/sentinel.conf" --sentinel
done
for i in 1 2 3; do
	await "sentinel-$i" 'slaves=2,sentinels=3' redis-cli -p "$((base + 20 + i))" info sentinel
done

# The nodes and the balancer. What they need is in their environment: arguments
# can be read by everybody on this machine.
export WECHAT_APP_ID WECHAT_OA_SECRET WECHAT_OA_TOKEN
export REDIS_PASSWORD="$password"
export PUBLIC_URL="${PUBLIC_URL:-http://127.0.0.1:$base}"
export WECHAT_API_URL="${WECHAT_API_URL:-https://api.weixin.qq.com}"
export BALANCER="http://127.0.0.1:$base"
export NODES="127.0.0.1:$((base + 1)) 127.0.0.1:$((base + 2)) 127.0.0.1:$((base + 3))"
export SENTINELS="127.0.0.1:$((base + 21)) 127.0.0.1:$((base + 22)) 127.0.0.1:$((base + 23))"
if [ -n "${WECHAT_OA_AES_KEY:-}" ]; then
	export WECHAT_OA_AES_KEY AES_KEY='aes_key {env.WECHAT_OA_AES_KEY}'
fi
for i in 1 2 3; do
	mkdir "$dir/node-$i"
	NODE=node-$i LISTEN="http://127.0.0.1:$((base + i))" ADMIN="127.0.0.1:$((base + 30 + i))" DATA="$dir/node-$i" \
		keep "node-$i" "$CADDY" run --config "$here/node.Caddyfile" --adapter caddyfile
done
mkdir "$dir/balancer"
DATA="$dir/balancer" keep balancer "$CADDY" run --config "$here/balancer.Caddyfile" --adapter caddyfile
for name in node-1 node-2 node-3 balancer; do
	await "$name" 'serving initial configuration' cat "$dir/$name.log"
done
: >"$dir/up"

cat <<END

  $PUBLIC_URL/   the site
  $PUBLIC_URL/_wechat/push/$WECHAT_APP_ID   the URL to enter in WeChat's console, where WeChat can reach it

  balancer     127.0.0.1:$base
  node-1 to 3  $NODES
  redis-1 to 3, redis-1 being the master at first
               127.0.0.1:$((base + 11)) 127.0.0.1:$((base + 12)) 127.0.0.1:$((base + 13))
  sentinel-1 to 3
               $SENTINELS

Sign in, then reload the page: each time another node answers. Then, in a second shell:

  kill -9 \$(cat $dir/node-1.pid)    the other two go on
  kill -9 \$(cat $dir/redis-1.pid)   you stay signed in; new sign-ins pause until the Sentinels have chosen another master
  export REDISCLI_AUTH=\$(cat $dir/password)
  redis-cli -p $((base + 21)) sentinel get-master-addr-by-name wechat
  tail -f $dir/node-2.log

Ctrl-C ends all.
END
for keeper in $keepers; do
	wait "$keeper"
done
