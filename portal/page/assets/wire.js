// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// What the login page's scripts share: waiting, talking to the server, and which
// addresses and pictures are taken from its answers.
const wire = (() => {
  'use strict';

  const page = JSON.parse(document.getElementById('page-data').textContent);
  const el = (id) => document.getElementById(id);

  // ---- Waiting

  const sleepers = new Set();
  const wake = () => { if (!document.hidden) sleepers.forEach((rouse) => rouse()); };
  addEventListener('online', wake);
  addEventListener('pageshow', wake);
  document.addEventListener('visibilitychange', wake);

  // Calls back when the laptop wakes, the tab is shown or the network is back.
  function onWake(rouse) {
    sleepers.add(rouse);
    return () => sleepers.delete(rouse);
  }

  // Resolves after ms, or early when aborted or, where asked for, on waking.
  function pause(ms, signal, {wakeable = true} = {}) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        forget();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      const forget = wakeable ? onWake(done) : () => {};
      signal.addEventListener('abort', done);
      if (signal.aborted) done();
    });
  }

  // A tab opened in the background asks for no code that nobody would see.
  async function shown(signal) {
    while (document.hidden && !signal.aborted) await pause(3600000, signal);
  }

  // Milliseconds before try number n (from 0): doubling to 30 s, never less than the
  // server asks for, spread so that many browsers do not come back at once.
  function backoff(n, retryAfter = 0) {
    const base = Math.max(Math.min(30, 2 ** n), retryAfter) * 1000;
    return base + Math.random() * Math.min(base / 4, 5000);
  }

  // ---- Talking to the server

  // Resolves to the answer; with status 0 where there is none in time.
  // The mode stays the default `cors`: with another, the Fetch standard asks for
  // `Origin: null` under this page's referrer policy, which the server refuses.
  async function request(method, path, {signal, body, timeout = 15000} = {}) {
    const ctl = new AbortController();
    const abort = () => ctl.abort();
    const timer = setTimeout(abort, timeout);
    if (signal) signal.addEventListener('abort', abort);
    try {
      const headers = {Accept: 'application/json'};
      if (body) headers['Content-Type'] = 'application/json';
      const res = await fetch(page.prefix + path, {
        method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: ctl.signal,
      });
      const isJSON = (res.headers.get('Content-Type') || '').includes('json');
      return {
        status: res.status,
        data: (isJSON && await res.json()) || {},
        retryAfter: Math.min(3600, Math.max(0, Number(res.headers.get('Retry-After')) || 0)),
        date: Date.parse(res.headers.get('Date')),
      };
    } catch (_) {
      return {status: 0, data: {}, retryAfter: 0, date: NaN};
    } finally {
      clearTimeout(timer);
      if (signal) signal.removeEventListener('abort', abort);
    }
  }

  const attemptPath = (id) => `/attempts/${encodeURIComponent(id)}`;

  // ---- Where to go, what to show

  // Leaves for a path of this site, and never for another site.
  function leave(path) {
    let to = new URL('/', location.origin);
    if (typeof path === 'string' && /^\/(?![/\\])/.test(path)) {
      const url = new URL(path, location.origin);
      if (url.origin === location.origin) to = url;
    }
    // Shown in place of the page itself, a reload keeps the #fragment.
    if (to.pathname + to.search === location.pathname + location.search) location.reload();
    else location.replace(to.href);
  }

  // The address of a page of WeChat's, or null for anything else: https, or http on
  // this very computer, where a simulator may stand in for WeChat.
  function wechatURL(text) {
    try {
      const url = new URL(text);
      const local = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
      return url.protocol === 'https:' || (url.protocol === 'http:' && local) ? url : null;
    } catch (_) {
      return null;
    }
  }

  // A picture that is part of the answer, or nothing: none is fetched from elsewhere.
  function picture(text) {
    return /^data:image\/(png|jpeg|gif|webp);base64,[\w+/=]+$/.test(text) ? text : '';
  }

  return {page, el, onWake, pause, shown, backoff, request, attemptPath, leave, wechatURL, picture};
})();
