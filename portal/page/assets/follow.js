// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Follows the state of an attempt, through whatever stands between page and server.
const follow = (() => {
  'use strict';

  const {page, onWake, pause, backoff, request, attemptPath} = wire;

  const FIRST_EVENT = 4000; // ms until a silent event stream counts as buffered by a proxy
  const LONG_POLL = 35000; // ms until a long poll, which the server ends after 25 s, counts as lost
  const POLL = 2000; // ms between plain polls

  // States only go forward.
  const RANK = {pending: 0, scanned: 1, confirmed: 2, consumed: 3, cancelled: 3, expired: 3, denied: 3};

  // Follows one attempt by the best way that works: an event stream, a long poll or a
  // plain poll. It moves on to the next way only while the server itself can be reached,
  // so that a restart or a lost network does not count against a way.
  class Watcher {
    // deliver takes each message and reports whether it was news; note says how it
    // goes with the connection.
    constructor(attempt, signal, deliver, note) {
      this.attempt = attempt;
      this.path = attemptPath(attempt.id);
      this.signal = signal;
      this.deliver = deliver;
      this.note = note;
      this.changes = 0;
    }

    async run() {
      const ways = [this.stream, this.longPoll, this.poll];
      let failures = 0;
      while (!this.signal.aborted) {
        const outcome = await ways[0].call(this);
        if (outcome === 'answered') {
          failures = 0;
          continue;
        }
        const reached = await this.check();
        if (this.signal.aborted) return;
        if (!reached) {
          this.note(page.text.reconnecting);
          await pause(backoff(failures++), this.signal);
          continue;
        }
        failures = 0;
        if (outcome === 'failed' && ways.length > 1) ways.shift();
        else await pause(300 + Math.random() * 700, this.signal);
      }
    }

    // Asks once. Resolves to whether the server knew the attempt.
    async check() {
      return this.take(await request('GET', this.path, {signal: this.signal}));
    }

    take({status, data}) {
      if (this.signal.aborted) return false;
      if (status === 404) this.deliver({state: 'gone'});
      if (status !== 200 || !(data.state in RANK)) return false;
      this.note('');
      if (this.deliver(data)) this.changes++;
      return true;
    }

    // 'failed' where no event came at all, 'dropped' where the stream ended later on.
    stream() {
      if (!window.EventSource) return 'failed';
      return new Promise((resolve) => {
        const source = new EventSource(`${page.prefix}${this.path}/events`);
        let heard = false;
        const end = (outcome) => {
          clearTimeout(timer);
          forget();
          this.signal.removeEventListener('abort', drop);
          source.close();
          resolve(outcome);
        };
        const drop = () => end('dropped');
        const timer = setTimeout(() => end('failed'), FIRST_EVENT);
        const forget = onWake(drop); // asleep, a connection may have died unnoticed
        this.signal.addEventListener('abort', drop);
        source.onerror = () => end(heard ? 'dropped' : 'failed');
        source.addEventListener('state', (event) => {
          heard = true;
          clearTimeout(timer);
          this.take({status: 200, data: JSON.parse(event.data)});
        });
      });
    }

    async longPoll() {
      const inner = new AbortController();
      const drop = () => inner.abort();
      const forget = onWake(drop);
      this.signal.addEventListener('abort', drop);
      const began = Date.now();
      const changes = this.changes;
      // The known state lets the server answer at once what changed between two polls.
      const path = `${this.path}?wait=25&state=${this.attempt.state}`;
      const answer = await request('GET', path, {signal: inner.signal, timeout: LONG_POLL});
      forget();
      this.signal.removeEventListener('abort', drop);
      if (inner.signal.aborted) return 'dropped';
      if (!this.take(answer)) return 'failed';
      // An answer at once without news: something on the way does not wait.
      return Date.now() - began > 1000 || this.changes > changes ? 'answered' : 'failed';
    }

    async poll() {
      await pause(POLL, this.signal);
      return (await this.check()) ? 'answered' : 'failed';
    }
  }

  return {RANK, Watcher};
})();
