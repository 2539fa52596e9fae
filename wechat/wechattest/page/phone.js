// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

"use strict";

// The page renews its <main> when something on the phone has changed. The
// form below it is left alone, so that nothing half typed is lost.
const main = () => document.querySelector("main");

function toEnd() {
  if (main().classList.contains("chat")) main().scrollTop = main().scrollHeight;
}

async function renew() {
  if (!main().dataset.version) return; // an error stays until it has been read
  const version = await (await fetch("/phone/version")).text();
  if (version === main().dataset.version || main().contains(document.activeElement)) return;
  const html = await (await fetch(location.pathname)).text();
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("main");
  if (!fresh) return;
  if (fresh.innerHTML === main().innerHTML) {
    main().dataset.version = version; // what is under the finger stays
    return;
  }
  main().replaceWith(document.adoptNode(fresh));
  toEnd();
}

async function watch() {
  try {
    if (!document.hidden) await renew();
  } catch {
    // The server is away: the next round finds out.
  }
  setTimeout(watch, 1000);
}

toEnd();
watch();
