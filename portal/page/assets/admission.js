// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Lets a person who waits in as soon as an operator has, by an event stream, or by
// asking now and then where none comes through.
(() => {
  'use strict';

  const FIRST_EVENT = 4000; // ms until a silent event stream counts as buffered by a proxy
  const POLL = 20000; // ms between two questions, where there is no stream
  const SAME = 30000; // ms before a page is loaded again that has come back the same

  const main = document.querySelector('main[data-admission]');
  const {prefix, disabled} = main.dataset;
  const shown = main.dataset.admission;
  let leaving = false; // or nothing more to wait for

  // Loads the page again: the site itself, or what is missing now. Where two gates of
  // one site judge differently it comes back the same, and must not do so for ever.
  const again = () => {
    if (leaving) return;
    leaving = true;
    const here = `${shown} ${location.href}`;
    let wait = 0;
    try {
      const [at, before] = JSON.parse(sessionStorage.getItem('wechat_admission')) || [0, ''];
      if (before === here) wait = Math.max(0, at + SAME - Date.now());
    } catch {
      wait = SAME;
    }
    setTimeout(() => {
      try {
        sessionStorage.setItem('wechat_admission', JSON.stringify([Date.now(), here]));
      } catch { /* it is slow the next time */ }
      location.reload();
    }, wait);
  };

  const take = (admission) => {
    if (admission === shown || leaving) return;
    if (admission !== 'disabled') return again();
    leaving = true;
    // Whoever is disabled is signed out as well: loaded again, the page would not say why.
    const [head, body] = disabled.split('\n');
    main.querySelector('h1').textContent = head;
    main.querySelector('p').textContent = body;
    main.classList.replace('clock', 'stop');
    main.querySelector('use').setAttribute('href', '#i-stop');
    document.title = document.title.replace(/^.*(?= · )/, head);
  };

  const ask = async () => {
    try {
      const answer = await fetch(`${prefix}/me`, {headers: {Accept: 'application/json'}, cache: 'no-store'});
      if (answer.status === 403) take((await answer.json()).reason);
      else if (answer.ok) take('');
      else if (answer.status === 401) again();
    } catch { /* the network is away: ask again later */ }
  };

  const follow = () => {
    if (leaving) return;
    const later = () => {
      clearTimeout(silent);
      source.close();
      ask();
      setTimeout(follow, POLL);
    };
    const source = new EventSource(`${prefix}/admission/events`);
    const silent = setTimeout(later, FIRST_EVENT);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) later();
    };
    source.addEventListener('state', (event) => {
      clearTimeout(silent);
      take(JSON.parse(event.data).admission);
    });
  };

  if (window.EventSource) follow();
  else setInterval(ask, POLL);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) ask();
  });
})();
